/**
 * Passes over many prompts in batches, and over what may follow them on forks of their key-value cache, with the edits of the
 * model's view. Edits go as in `generate`: those with positions, which are the prompt's, in the prompt alone, the others in the
 * tokens that follow too.
 */
import { HookError, InputError, SuperlensError } from "../errors.ts";
import { type CheckedEdit, compileEdits } from "../hooks/edit.ts";
import type { HookedModel } from "../hooks/index.ts";
import { planPass } from "../hooks/plan.ts";
import type { KvCache } from "../model/kv-cache.ts";
import { LOGIT_BYTES_PER_PASS } from "../model/log-probs.ts";
import type { RunOptions } from "../model/runner.ts";

/** Tokens of prompts that run together. */
export const BATCH_TOKENS = 16_384;

/** A prompt as token ids, and how many rows of logits it needs. */
export interface BatchedPrompt {
  readonly prompt: number[];
  readonly rows: number;
}

/** Prompts in order, in batches whose tokens and logits stay within bounds; at least one a batch. */
export function* batchesOf<P extends BatchedPrompt>(prompts: readonly P[], vocabSize: number): Generator<P[]> {
  const mostRows = LOGIT_BYTES_PER_PASS / 4 / vocabSize;
  let batch: P[] = [];
  let [tokens, rows] = [0, 0];
  for (const one of prompts) {
    if (batch.length > 0 && (tokens + one.prompt.length > BATCH_TOKENS || rows + one.rows > mostRows)) {
      yield batch;
      [batch, tokens, rows] = [[], 0, 0];
    }
    batch.push(one);
    tokens += one.prompt.length;
    rows += one.rows;
  }
  if (batch.length > 0) yield batch;
}

/**
 * What a pass over prompts needs, or over the tokens that follow them.
 * @param own edits of each input, beside those of the model's view
 */
export function passOptions(
  { base, standing }: HookedModel,
  stage: "prompt" | "following",
  inputs: readonly (readonly number[])[],
  run: { kv: KvCache; logits: "last" | "all"; signal: AbortSignal | undefined },
  own: readonly (readonly CheckedEdit[])[] = [],
): RunOptions {
  const all = [...standing, ...own.flatMap((list, index) => list.map((edit) => ({ ...edit, batch: [index] })))];
  const edits = stage === "prompt" ? all : all.filter(({ positions }) => positions === undefined);
  return edits.length === 0 ? run : { ...run, ...planPass(base, inputs, run, { edits, logits: run.logits }).run };
}

/**
 * Checks edits before anything runs. Prompts run in batches, so an edit of the view cannot name one of them.
 * @throws HookError `hook/unsupported` for an edit with `batch`; others as `forward`
 */
export function checkEdits(
  call: string,
  { standing, spec }: HookedModel,
  prompts: readonly { prompt: number[]; edits?: readonly CheckedEdit[] }[],
): void {
  const isOfOne = ({ batch, value }: CheckedEdit) =>
    batch !== undefined ||
    (typeof value === "object" && "cache" in value && value.batch === undefined && value.cache.positions.length > 1);
  for (const { prompt, edits = [] } of prompts) {
    const wrong = [...standing, ...edits].find(isOfOne);
    if (wrong)
      throw new HookError(
        "hook/unsupported",
        `The edit of ${wrong.at} (${wrong.op}) names entries of a batch, itself or by its cache; ${call} makes its own batches. Give the edit to the prompt that it is of, and name the cache's \`batch\` in its value.`,
      );
    compileEdits([...standing, ...edits], { spec, starts: [0], lengths: [prompt.length] });
  }
}

/** Errors of one prompt's tokens say which prompt it was. */
export function namingPrompt<T>(index: number, body: () => T): T {
  try {
    return body();
  } catch (error) {
    if (!(error instanceof SuperlensError) || !error.code.startsWith("input/")) throw error;
    throw new InputError(error.code, `Prompt ${index}: ${error.message}`, { cause: error });
  }
}
