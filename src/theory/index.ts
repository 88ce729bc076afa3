/**
 * The constructive transformer: tasks in, an ordinary model out. Start at build.ts; docs/theory.md explains it.
 *
 * @module superlens/theory
 */
export type {} from "../globals.ts";
export type { AssembledModel, DenseTensor, StageName } from "./assemble.ts";
export {
  type Blueprint,
  buildSuperposition,
  type SuperpositionConfig,
  type SuperpositionModel,
} from "./build.ts";
export type { SlotDefinition, SumDefinition, TaskDefinition, TaskEntry } from "./definition.ts";
export { asDefinition } from "./definition-form.ts";
export { TheoryError } from "./errors.ts";
export type { TaskMap } from "./maps.ts";
export {
  inMemory,
  type LoadedSuperposition,
  loadSuperposition,
  modelFiles,
  readBlueprint,
  type WeightDtype,
} from "./model-folder.ts";
export { type Observation, observe, type Places, placesOf, setSpace } from "./observe.ts";
export type { Constants, ConstructionOptions } from "./plan.ts";
export { loadPreset, PRESET_NAMES, type PresetName } from "./presets/index.ts";
export {
  decodePrompt,
  encodePrompt,
  formatExample,
  type Prompt,
  type PromptIds,
  parsePrompt,
  promptIds,
} from "./prompts.ts";
export type { ResidualLayout, SpaceName, SpaceSpan } from "./spaces.ts";
export type { SparseMatrix } from "./sparse.ts";
export { BOS_TOKEN, type CompiledSum, type CompiledTask, compileTasks, type Program } from "./tasks.ts";
export {
  type Claim,
  GRID_NAMES,
  GROUPS,
  type GridName,
  type Group,
  type Relation,
  type VerifyOptions,
  verify,
} from "./verify/index.ts";
