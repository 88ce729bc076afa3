/// <reference types="@webgpu/types" preserve="true" />
/// <reference lib="esnext.disposable" preserve="true" />
/** The constructive transformer: tasks in, an ordinary model out. Start at build.ts; docs/theory.md explains it. */
export { type AssembledModel, type DenseTensor, denseBytes, denseTensors, type StageName } from "./assemble.ts";
export {
  type Blueprint,
  buildSuperposition,
  type SuperpositionConfig,
  type SuperpositionModel,
  superpositionConfig,
} from "./build.ts";
export { buildDefaultModel } from "./default-model.ts";
export type { SlotDefinition, SumDefinition, TaskDefinition, TaskEntry } from "./definition.ts";
export { asDefinition } from "./definition-form.ts";
export { TheoryError } from "./errors.ts";
export { NAMED_MAPS, type TaskMap } from "./maps.ts";
export { largestDifference, type Overrides, type ProgramState, runProgram, softmax } from "./mixture.ts";
export {
  configText,
  FILE_METADATA,
  inMemory,
  type LoadedSuperposition,
  loadSuperposition,
  modelFiles,
  readBlueprint,
  tensorEntries,
  type WeightDtype,
} from "./model-folder.ts";
export {
  dimsOf,
  inputIds,
  type Observation,
  observe,
  placesOf,
  pointOf,
  probabilitiesOf,
  setSpace,
  stagePoint,
} from "./observe.ts";
export { Oracle, type OracleHook, type OracleOptions } from "./oracle.ts";
export { type ConstructionOptions, DEFAULT_CONSTANTS, headsNeeded, residualWidth } from "./plan.ts";
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
export { promptOfTasks, type Random, samplePrompt, unexplainedPrompt } from "./sampling.ts";
export { LinearMap, ResidualLayout, SPACES, type SpaceName, type SpaceSpan } from "./spaces.ts";
export { BOS_TOKEN, compileTasks, type Program } from "./tasks.ts";
export {
  type Claim,
  GRID_NAMES,
  GROUPS,
  type GridName,
  type Group,
  type VerifyOptions,
  verify,
} from "./verify/index.ts";
export { seeded as seededRandom } from "./verify/random-tasks.ts";
