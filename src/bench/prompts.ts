/**
 * The tokens that benchmarks run. A batch repeats two sequences in turn: every row of it can then be compared with the
 * reference for the price of two reference passes, and rows that were exchanged still show.
 */
import type { ModelSpec } from "../model/spec.ts";

/** Sequences that differ. */
const VARIANTS = 2;

/** `length` token ids of sequence `sequence` of a batch. */
export function promptIds({ vocabSize }: Pick<ModelSpec, "vocabSize">, length: number, sequence = 0): number[] {
  const start = 13 + 101 * (sequence % VARIANTS);
  return Array.from({ length }, (_, index) => (index * 7919 + start) % vocabSize);
}

/** The prompts of a batch. */
export function promptBatch(spec: Pick<ModelSpec, "vocabSize">, length: number, batch: number): number[][] {
  return Array.from({ length: batch }, (_, sequence) => promptIds(spec, length, sequence));
}
