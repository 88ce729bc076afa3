/**
 * Batches to train on: a sequence is a line break and examples of ONE task, cut to length; answers alone count.
 *
 * Batch `index` follows from the seed and its number, so a run goes on anywhere with the very batches that it would have had.
 */
import { RandomStream } from "../model/random.ts";
import * as s from "../schema/schema.ts";
import { drawInputs, pick } from "./draw.ts";
import { FAMILY, type Task, type TaskFamily } from "./tasks/family.ts";
import { VOCABULARY, type Vocabulary } from "./tasks/vocabulary.ts";

/** What batches consist of. */
export interface BatchOptions {
  /** Each as likely as another, whatever the number of its tasks. */
  families: readonly TaskFamily[];
  /** Whose tokens the ids are. */
  vocabulary: Vocabulary;
  /** Sequences. */
  batch: number;
  /** Predictions in a sequence: it has one token more. */
  length: number;
  /** Default 0. */
  seed?: number;
  /** The part of examples whose task is drawn anew from the family; 0, the paper's, unless told. */
  impurity?: number;
}

/** Sequences with the predictions that count, as `train` takes them. */
export interface TaskBatch {
  ids: number[][];
  mask: boolean[][];
}

export const BATCH_OPTIONS = s.object<BatchOptions, BatchOptions>("the options of trainingBatches", {
  families: s.required(s.list("families of tasks", FAMILY)),
  vocabulary: s.required(VOCABULARY),
  batch: s.required(s.wholeFrom(1)),
  length: s.required(s.wholeFrom(1)),
  seed: s.whole,
  impurity: s.part,
});

/** The batches from number `first` on, without end. */
export function trainingBatches(options: BatchOptions): (first?: number) => Generator<TaskBatch, never, undefined> {
  const read = s.readOptions(BATCH_OPTIONS, options, "trainingBatches");
  return function* (first = 0) {
    s.readArgument(s.wholeFrom(0), first, "trainingBatches", "first");
    for (let index = first; ; index++) yield batchAt(read, index);
  };
}

function batchAt(options: BatchOptions, index: number): TaskBatch {
  const random = RandomStream.fromSeed(options.seed ?? 0, index);
  const rows = Array.from({ length: options.batch }, () => drawSequence(random, options));
  return { ids: rows.map(({ ids }) => ids), mask: rows.map(({ mask }) => mask) };
}

function drawSequence(random: RandomStream, { families, vocabulary, length, impurity = 0 }: BatchOptions) {
  const family = pick(random, families);
  const main = pick(random, family.tasks);
  const ids = [vocabulary.bos];
  const mask: boolean[] = [];
  while (ids.length <= length) {
    const inputs = drawInputs(random, family);
    const isImpure = impurity > 0 && random.next() < impurity;
    const task: Task = isImpure ? pick(random, family.tasks) : main;
    const read = vocabulary.inputIds(family, inputs);
    const predicted = vocabulary.answerIds(task.answer(inputs));
    ids.push(...read, ...predicted);
    mask.push(...read.map(() => false), ...predicted.map(() => true));
  }
  return { ids: ids.slice(0, length + 1), mask: mask.slice(0, length) };
}
