/** What a figure is: a question, independent cells of work that answer it, and a summary of what they gave. */
import type { HookedModel } from "../hooks/index.ts";
import type { Vocabulary } from "./tasks/vocabulary.ts";

/** What a figure is made for: a model, with the vocabulary that it was trained with if it has no tokenizer. */
export interface Subject {
  readonly model: HookedModel;
  readonly vocabulary: Vocabulary | undefined;
}

export interface Cell {
  /** The name of its file: letters, digits, dots and dashes. */
  readonly id: string;
}

/** What came out, for people. */
export interface Summary {
  /** Columns name their units. */
  readonly table: { readonly columns: readonly string[]; readonly rows: readonly (readonly (string | number)[])[] };
  readonly plots: readonly { readonly name: string; readonly svg: string }[];
  /** What we found, in a sentence or two. */
  readonly sentence: string;
  readonly verdict: "agrees" | "agrees in part" | "disagrees";
}

/** Settings and results are JSON: they are written and read again, also by another machine. */
export interface Figure<Settings = unknown, C extends Cell = Cell, Result = unknown> {
  readonly name: string;
  /** The question. */
  readonly asks: string;
  /** What the paper found. */
  readonly paper: string;
  /** All that results depend on, the model included. */
  settings(subject: Subject, options: { quick: boolean }): Promise<Settings>;
  cells(settings: Settings): C[];
  run(cell: C, settings: Settings, subject: Subject, signal: AbortSignal | undefined): Promise<Result>;
  summarise(settings: Settings, results: readonly { cell: C; result: Result }[]): Summary;
}
