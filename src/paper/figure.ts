/**
 * What a figure is: a question, independent cells of work that answer it, and a summary of what they gave. One that compares
 * models has the cells of each model, and one summary of all.
 */
import type { ModelSource } from "../model/load.ts";
import type { Picture } from "../pictures/index.ts";
import type { Subject } from "./subjects.ts";

/** A piece of a figure that is computed and kept by itself. */
export interface Cell {
  /** The name of its file: letters, digits, dots and dashes. */
  readonly id: string;
}

/** What came out, for people. */
export interface Summary {
  /** Columns name their units. */
  readonly table: { readonly columns: readonly string[]; readonly rows: readonly (readonly (string | number)[])[] };
  readonly plots: readonly { readonly name: string; readonly picture: Picture }[];
  /** What we found, in a sentence or two. */
  readonly sentence: string;
  readonly verdict: Verdict;
}

/** What was found beside what the paper says; of a figure to which it says nothing, "goes beyond". */
export type Verdict = "agrees" | "agrees in part" | "disagrees" | "goes beyond";

/** A verdict with what it is about. */
export const verdictInWords = (verdict: Verdict): string =>
  verdict === "goes beyond" ? "goes beyond the paper" : `${verdict} with the paper`;

/** What is measured on a model. Settings and results are JSON: they are written and read again, also by another machine. */
export interface Measurement<Settings, C extends Cell, Result> {
  readonly name: string;
  /** The question. */
  readonly asks: string;
  /** What the paper found. */
  readonly paper: string;
  /** Whether it makes use of a text that is given. */
  readonly takesText?: boolean;
  /** What it is made for where no model is given, of those in the folder of embedded models, or of its own. */
  models?(folder: string, quick: boolean): readonly ModelSource[];
  /** All that results depend on, the model included. */
  settings(subject: Subject, options: { quick: boolean; text?: string | undefined }): Promise<Settings>;
  /** The pieces that are computed one by one. */
  cells(settings: Settings): C[];
  /** Computes one of them. */
  run(cell: C, settings: Settings, subject: Subject, signal: AbortSignal | undefined): Promise<Result>;
}

/** A figure about one model. */
export interface Figure<Settings = unknown, C extends Cell = Cell, Result = unknown>
  extends Measurement<Settings, C, Result> {
  /** What all pieces together say. */
  summarise(settings: Settings, results: readonly CellResult<C, Result>[]): Summary;
}

/** A cell with what came of it. */
export interface CellResult<C extends Cell = Cell, Result = unknown> {
  readonly cell: C;
  readonly result: Result;
}

/** A figure about several models: the same measurement of each. */
export interface Comparison<Settings = unknown, C extends Cell = Cell, Result = unknown>
  extends Measurement<Settings, C, Result> {
  /** What the models say beside each other. */
  compare(models: readonly ModelResults<Settings, C, Result>[]): Summary;
}

/** What a model of a comparison gave. */
export interface ModelResults<Settings = unknown, C extends Cell = Cell, Result = unknown> {
  readonly settings: Settings;
  readonly results: readonly CellResult<C, Result>[];
}

/** A figure about one model, or about several. */
export type AnyFigure = Figure | Comparison;

export const isComparison = (figure: AnyFigure): figure is Comparison => "compare" in figure;
