/** What a model learns from: batches of token ids, and which predictions count. */
import { InputError } from "../errors.ts";
import * as s from "../schema/schema.ts";

/** A batch. */
export interface TrainBatch {
  /** Sequences of T + 1 tokens: the first T are read, and each predicts the one after it. They may differ in length. */
  ids: readonly s.NumberList[];
  /** Whether the prediction at position t, of the token at t + 1, counts, [batch, T]. All when absent. */
  mask?: readonly (readonly boolean[])[];
}

/** Batches in order, or a function that gives them from batch `first` (from 0) on. */
export type TrainData =
  | Iterable<TrainBatch>
  | AsyncIterable<TrainBatch>
  | ((first: number) => Iterable<TrainBatch> | AsyncIterable<TrainBatch>);

const isBatches = (value: unknown) =>
  typeof value === "object" && value !== null && (Symbol.iterator in value || Symbol.asyncIterator in value);

export const TRAIN_DATA = s.simple<TrainData>(
  "batches { ids, mask }, as a list, an (async) iterable, or a function (first) => iterable",
  (value) => typeof value === "function" || isBatches(value),
);

const BATCH = s.object<TrainBatch, CheckedBatch>("a batch", {
  ids: s.required(s.list("lists of token ids", s.list("token ids", s.wholeFrom(0)))),
  mask: s.list("lists of true and false", s.list("true and false", s.flag)),
});

interface CheckedBatch {
  ids: number[][];
  mask?: boolean[][];
}

/** Sequences with the positions that count in each, ascending; those where none does are left out. */
export interface Counted {
  readonly ids: readonly (readonly number[])[];
  readonly positions: readonly (readonly number[])[];
}

/**
 * The batches of a run from batch `first` on, checked.
 * @throws InputError `input/argument`, `input/unknown-key`, `train/data`
 */
export async function* batchesFrom(data: TrainData, first: number): AsyncGenerator<Counted> {
  const isFunction = typeof data === "function";
  const batches = isFunction ? data(first) : data;
  if (!isBatches(batches))
    throw new InputError("train/data", "data: the function gave no iterable of batches { ids, mask }.");
  let index = isFunction ? first : 0;
  for await (const batch of batches) {
    if (index >= first) yield counted(batch, index);
    index++;
  }
}

function counted(batch: unknown, index: number): Counted {
  const name = `train, batch ${index}`;
  const { ids, mask } = s.readArgument(BATCH, batch, name, "");
  if (mask && mask.length !== ids.length)
    throw new InputError("train/data", `${name}: the mask has ${mask.length} sequences, ids ${ids.length}.`);
  const positions = ids.map((list, sequence) => {
    const own = mask?.[sequence];
    if (own && own.length !== list.length - 1)
      throw new InputError(
        "train/data",
        `${name}: sequence ${sequence} has ${list.length} ids, so its mask must have ${list.length - 1} entries, one a prediction; it has ${own.length}.`,
      );
    return list.slice(1).flatMap((_, position) => (own === undefined || own[position] ? [position] : []));
  });
  const kept = positions.flatMap((list, sequence) => (list.length > 0 ? [sequence] : []));
  if (kept.length === 0)
    throw new InputError(
      "train/data",
      `${name} counts no prediction: sequences need two tokens, and a mask an entry that is true.`,
    );
  return {
    ids: kept.map((sequence) => ids[sequence] as number[]),
    positions: kept.map((sequence) => positions[sequence] as number[]),
  };
}
