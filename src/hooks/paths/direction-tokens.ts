/** Directions of the residual stream in words: the tokens whose embedding or unembedding lies most along them, or against. */
import { HookError } from "../../errors.ts";
import { matmul } from "../../kernels/calls.ts";
import type { Matrix } from "../../kernels/matrix.ts";
import type { HookedModel } from "../hooked-model.ts";
import { topK } from "../readouts/kernels.ts";

/** A token and its row of W_E or W_U times the direction. */
export interface TokenScore {
  token: number;
  /** The token's text, when the model has a tokenizer. */
  text: string | undefined;
  score: number;
}

/** The ends of a direction. Which is which is chance: a pair of singular vectors may both be negated. */
export interface DirectionTokens {
  /** Largest scores first. */
  most: readonly TokenScore[];
  /** Smallest scores first. */
  least: readonly TokenScore[];
}

/** @throws HookError `hook/top-k` */
export async function directionTokens(
  model: HookedModel,
  table: Matrix,
  directions: readonly Float64Array[],
  count: number,
): Promise<DirectionTokens[]> {
  const { vocabSize } = model.spec;
  if (count > vocabSize)
    throw new HookError("hook/top-k", `topTokens is ${count}; this model has ${vocabSize} tokens. Take fewer.`);
  const found: DirectionTokens[] = [];
  const atOnce = Math.max(1, Math.floor(model.gpu.limits.maxStorageBufferBindingSize / 4 / vocabSize / 2));
  for (let first = 0; first < directions.length; first += atOnce) {
    const some = directions.slice(first, first + atOnce);
    // Each direction, and what points the other way.
    const packed = Float32Array.from(some.flatMap((one) => [...one, ...one.map((x) => -x)]));
    const rows = 2 * some.length;
    const chosen = await model.base.engine.record("tokens of directions", (recorder) => {
      const scores = recorder.temp(rows, vocabSize);
      matmul(recorder, recorder.upload(packed), rows, table, scores);
      return recorder.readback(topK(recorder, scores, rows, vocabSize, count));
    });
    const [ids, values] = [new Uint32Array(chosen.bytes), new Float32Array(chosen.bytes)];
    const listOf = (row: number, sign: number) =>
      Array.from({ length: count }, (_, place): TokenScore => {
        const at = 2 * (row * count + place);
        const token = ids[at] as number;
        const text =
          model.tokenizer && token < model.tokenizer.vocabSize ? model.tokenizer.tokenText(token) : undefined;
        return { token, text, score: sign * (values[at + 1] as number) };
      });
    found.push(...some.map((_, index) => ({ most: listOf(2 * index, 1), least: listOf(2 * index + 1, -1) })));
  }
  return found;
}
