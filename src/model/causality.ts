/**
 * Models whose attention looks both ways. A token's keys and values then depend on the whole sequence. So a sequence is
 * computed in one pass and never continued: nothing is generated, and a key-value cache serves no second call.
 */
import { InputError } from "../errors.ts";
import type { RowTable } from "../ops/rows.ts";
import type { ModelSpec } from "./spec.ts";

/** Whether queries see no key after their own. */
export function isCausal({ attention }: Pick<ModelSpec, "attention">): boolean {
  return attention.causal !== false;
}

function notCausal(message: string): InputError {
  return new InputError(
    "input/not-causal",
    `This model's attention looks both ways (attention.causal is false). ${message}`,
  );
}

/** @throws InputError `input/not-causal` for work that goes on from one token to the next. */
export function assertCausal(spec: ModelSpec, what: string): void {
  if (isCausal(spec)) return;
  throw notCausal(`${what} needs a model whose tokens see only earlier tokens. Use forward, or a causal model.`);
}

/** @throws InputError `input/not-causal` when a sequence that has tokens already would get more. */
export function assertWhole(spec: ModelSpec, before: readonly number[], ids: readonly (readonly number[])[]): void {
  if (isCausal(spec)) return;
  const continued = before.findIndex(
    (length, sequence) => length > 0 && (ids[sequence] as readonly number[]).length > 0,
  );
  if (continued < 0) return;
  throw notCausal(
    `Sequence ${continued} of the cache has ${before[continued]} tokens, whose keys more tokens would change. ` +
      "Run the whole sequence in one call, without a cache.",
  );
}

/**
 * [first, end] of the rows of each pass: as many as `most`, or without causality or backwards as many whole sequences. One
 * sequence that is longer than `most` is a pass if it has no more rows than `fitting`, the adapter's limit.
 * @throws InputError `input/not-causal` or `input/backward-rows` for a sequence that has.
 */
export function passesOf(
  spec: ModelSpec,
  rows: RowTable,
  most: number,
  fitting: number,
  isBackward = false,
): [number, number][] {
  const passes: [number, number][] = [];
  const isCut = (row: number) => row < rows.count && rows.sequence(row) === rows.sequence(row - 1);
  for (let first = 0, end = 0; first < rows.count; first = end) {
    end = Math.min(rows.count, first + most);
    if (isBackward || !isCausal(spec)) {
      while (end > first && isCut(end)) end--;
      if (end === first) for (end = first + 1; isCut(end); ) end++;
      if (end - first > fitting && isBackward) {
        throw new InputError(
          "input/backward-rows",
          `A sequence of ${end - first} tokens goes backwards in one pass; this adapter binds the activations of ${fitting} here. Use shorter sequences, or a metric of fewer positions.`,
        );
      }
      if (end - first > fitting) {
        throw notCausal(
          `So a sequence must be one pass, and ${end - first} tokens are more than the ${fitting} that this adapter takes. ` +
            "Use shorter sequences, or hooks at fewer points.",
        );
      }
    }
    passes.push([first, end]);
  }
  return passes;
}
