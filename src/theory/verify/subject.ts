/** Shared by the parts of a verification: a constructed model, on the GPU while it is needed, and its errors. */
import type { Gpu } from "../../gpu/gpu.ts";
import { loadModel } from "../../hooks/index.ts";
import type { SuperpositionModel } from "../build.ts";
import { largestDifference, type ProgramState, runProgram } from "../mixture.ts";
import { inMemory, type LoadedSuperposition, type WeightDtype } from "../model-folder.ts";
import { probabilitiesOf } from "../observe.ts";
import { type Prompt, type PromptIds, promptIds } from "../prompts.ts";
import type { Claim } from "./claim.ts";
import type { Grid } from "./grids.ts";

/** Handed to every part. */
export interface Bench {
  gpu: Gpu;
  grid: Grid;
  signal: AbortSignal | undefined;
}

/** A part of the verification: yields its claims as they are measured. */
export type Part = (bench: Bench) => AsyncGenerator<Claim, void, undefined>;

/** Loads `model`, runs `body` with it and frees it. */
export async function onGpu<T>(
  { gpu, signal }: Pick<Bench, "gpu" | "signal">,
  model: SuperpositionModel,
  body: (loaded: LoadedSuperposition) => Promise<T>,
  dtype: WeightDtype = "F32",
): Promise<T> {
  signal?.throwIfAborted();
  using loaded = await loadModel(inMemory(model, dtype), { gpu, ...(signal && { signal }) });
  return await body({ model: loaded, blueprint: model });
}

/** Resolves the words of prompts. */
export function idsOf({ program, examples }: SuperpositionModel, prompts: readonly Prompt[]): PromptIds[] {
  return prompts.map((prompt) => promptIds(program, examples, prompt));
}

/** What the program says about each prompt. */
export function statesOf({ program }: SuperpositionModel, prompts: readonly PromptIds[]): ProgramState[] {
  return prompts.map((prompt) => runProgram(program, prompt));
}

/** max |p - q| over a list of distributions. */
export function worstOf(found: readonly ArrayLike<number>[], expected: readonly ArrayLike<number>[]): number {
  if (found.length !== expected.length) return Number.NaN;
  return found.reduce((worst, p, i) => Math.max(worst, largestDifference(p, expected[i] as ArrayLike<number>)), 0);
}

/** max |p - p*| of the running model over prompts. */
export async function errorOf(loaded: LoadedSuperposition, prompts: readonly PromptIds[]): Promise<number> {
  const found = await probabilitiesOf(loaded, prompts);
  const { program } = loaded.blueprint;
  return worstOf(
    found,
    prompts.map((prompt) => runProgram(program, prompt).probabilities),
  );
}
