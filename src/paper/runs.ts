/**
 * The frame of a figure. A figure is a list of cells, independent units of work, and a summary of their results. Each finished
 * cell is a file of its own, written whole or not at all. So a run that was interrupted goes on where it was, machines share the
 * cells between them, and the summary is the same whoever computed which.
 *
 *   run.json            the figure, its settings and their hash
 *   cells/ID.json       what a cell gave
 *   results.json, results.csv, NAME.svg, index.html      the summary
 */
import { type FileStore, readText, STORE, storeOf, writeText } from "../checkpoint/store.ts";
import { fnv1a } from "../fnv1a.ts";
import * as s from "../schema/schema.ts";
import { PaperError } from "./errors.ts";
import { type AnyFigure, type Cell, isComparison, type Summary } from "./figure.ts";
import { csvOf, pageOf } from "./page.ts";
import { lastPart, SUBJECTS, type Subject, type Subjects } from "./subjects.ts";

/** A part of a figure's cells. */
export interface Shard {
  index: number;
  count: number;
}

/** Options of `runFigure`. */
export interface RunFigureOptions {
  /** Where the files go: a folder's name, or a store. */
  store: string | FileStore;
  /** Fewer prompts and cells. */
  quick?: boolean;
  /** For a figure that takes a text: n-grams are counted in it. */
  text?: string;
  /** Only the cells whose number is `index` modulo `count`. */
  shard?: Shard;
  /** Ends the run with `signal.reason` between two cells. */
  signal?: AbortSignal;
  /** After each cell: how many of this run's are done, and the seconds that the others will take, once that is known. */
  onProgress?: (progress: CellProgress) => void;
}

/** How far a run is. */
export interface CellProgress {
  /** Cells. */
  readonly done: number;
  readonly total: number;
  /** What the others will take; undefined until a cell was computed. */
  readonly secondsLeft: number | undefined;
}

export const SHARD = s.object<Shard>("a shard", {
  index: s.required(s.wholeFrom(0)),
  count: s.required(s.wholeFrom(1)),
});

export const RUN_FIGURE_OPTIONS = s.object<RunFigureOptions, RunFigureOptions>("the options of runFigure", {
  store: s.required(STORE),
  quick: s.flag,
  text: s.text,
  shard: SHARD,
  signal: s.signal,
  onProgress: s.callback,
});

export const FIGURE = s.madeObject<AnyFigure>("a figure, of figureOf()", "name", "settings", "cells", "run");

/** A cell with the model that it is of. */
interface Work {
  /** The name of its file. */
  readonly id: string;
  readonly cell: Cell;
  /** By number. */
  readonly model: number;
  /** Of that model. */
  readonly settings: unknown;
}

/**
 * Computes the cells that are not there yet, and then, unless it is a shard, the summary.
 * @param subjects a model, or for a comparison several
 */
export async function runFigure(
  figure: AnyFigure,
  subjects: Subject | Subjects,
  options: RunFigureOptions,
): Promise<Summary | undefined> {
  s.readArgument(FIGURE, figure, "runFigure", "figure");
  s.readArgument(SUBJECTS, subjects, "runFigure", "subjects");
  const {
    store: place,
    quick = false,
    text,
    shard,
    signal,
    onProgress,
  } = s.readOptions(RUN_FIGURE_OPTIONS, options, "runFigure");
  if (text !== undefined && !figure.takesText) s.refuseIdle("runFigure", "text", `for the figure "${figure.name}"`);
  const store = storeOf(place);
  if (shard && shard.index >= shard.count)
    throw new PaperError(
      "paper/shard",
      `There is no shard ${shard.index}/${shard.count}: shards of ${shard.count} are 0 to ${shard.count - 1}.`,
    );
  const models: Subjects = "at" in subjects ? subjects : { count: 1, at: async () => subjects };
  const settings = await settingsOf(figure, models, { quick, text });
  const hash = await begin(store, figure.name, settings);
  const own = workOf(figure, settings).filter((_, index) => !shard || index % shard.count === shard.index);
  const started = performance.now();
  let computed = 0;
  for (const [index, work] of own.entries()) {
    signal?.throwIfAborted();
    if ((await readCell(store, work, hash)) === undefined) {
      const result = await figure.run(work.cell, work.settings, await models.at(work.model), signal);
      await writeText(store, fileOf(work), JSON.stringify({ hash, result }));
      computed += 1;
    }
    const seconds = (performance.now() - started) / 1000;
    const [done, total] = [index + 1, own.length];
    onProgress?.({ done, total, secondsLeft: computed > 0 ? (seconds / computed) * (total - done) : undefined });
  }
  return shard ? undefined : mergeRun([figure], store);
}

/** Of a comparison it is a list, an entry for each model. */
async function settingsOf(
  figure: AnyFigure,
  models: Subjects,
  options: { quick: boolean; text: string | undefined },
): Promise<unknown> {
  if (!isComparison(figure)) {
    if (models.count === 1) return figure.settings(await models.at(0), options);
    throw new PaperError(
      "paper/one-model",
      `The figure "${figure.name}" is about one model, and ${models.count} were given. Run it once for each, each with a folder of its own.`,
    );
  }
  const each: unknown[] = [];
  for (let index = 0; index < models.count; index++) each.push(await figure.settings(await models.at(index), options));
  return each;
}

function workOf(figure: AnyFigure, settings: unknown): Work[] {
  if (!isComparison(figure)) return figure.cells(settings).map((cell) => ({ id: cell.id, cell, model: 0, settings }));
  return (settings as unknown[]).flatMap((own, model) =>
    figure.cells(own).map((cell) => ({ id: `${model}-${cell.id}`, cell, model, settings: own })),
  );
}

function summaryOf(figure: AnyFigure, settings: unknown, results: readonly (Work & { result: unknown })[]): Summary {
  if (!isComparison(figure)) return figure.summarise(settings, results);
  return figure.compare(
    (settings as unknown[]).map((own, index) => ({
      settings: own,
      results: results.filter(({ model }) => model === index),
    })),
  );
}

/** Sums up the cells of a run, whoever computed them, and writes results, plots and page. */
export async function mergeRun(figures: readonly AnyFigure[], place: string | FileStore): Promise<Summary> {
  s.readArgument(s.list("figures, such as FIGURES", FIGURE), figures, "mergeRun", "figures");
  const store = storeOf(s.readArgument(STORE, place, "mergeRun", "store"));
  const { run, figure, found } = await findCells(figures, store);
  const missing = found.filter(({ result }) => result === undefined).map(({ id }) => id);
  if (missing.length > 0)
    throw new PaperError(
      "paper/missing-cells",
      `${missing.length} of ${found.length} cells are missing in ${store.label}: ${missing.slice(0, 20).join(", ")}${missing.length > 20 ? ", ..." : ""}. Run the figure again with the same --out; what is there is kept.`,
    );
  const summary = summaryOf(figure, run.settings, found);
  await writeText(
    store,
    "results.json",
    JSON.stringify(
      {
        ...run,
        asks: figure.asks,
        paper: figure.paper,
        sentence: summary.sentence,
        verdict: summary.verdict,
        table: summary.table,
        cells: found.map(({ cell, model, result }) => ({ model, ...cell, result })),
      },
      null,
      1,
    ),
  );
  await writeText(store, "results.csv", csvOf(summary.table));
  for (const { name, picture } of summary.plots) await writeText(store, `${name}.svg`, await picture.svg());
  await writeText(store, "index.html", await pageOf(figure, run.settings, summary));
  return summary;
}

/** The shards, of so many, that have cells still to compute. */
export async function unfinishedShards(
  figures: readonly AnyFigure[],
  store: FileStore,
  count: number,
): Promise<number[]> {
  const { found } = await findCells(figures, store);
  const shards = found.flatMap(({ result }, index) => (result === undefined ? [index % count] : []));
  return [...new Set(shards)].sort((a, b) => a - b);
}

/** A run with what there is of its cells, in order. */
async function findCells(figures: readonly AnyFigure[], store: FileStore) {
  const run = parsed<RunFile>(await readText(store, "run.json"), "run.json");
  if (!run)
    throw new PaperError(
      "paper/no-run",
      `${store.label} has no run.json: no figure was begun there. Name the folder that was given as --out.`,
    );
  const figure = figures.find(({ name }) => name === run.figure);
  if (!figure)
    throw new PaperError(
      "paper/figure",
      `There is no figure "${run.figure}"; figures are ${figures.map(({ name }) => name).join(", ")}.`,
    );
  const found = await Promise.all(
    workOf(figure, run.settings).map(async (work) => ({ ...work, result: await readCell(store, work, run.hash) })),
  );
  return { run, figure, found };
}

interface RunFile {
  figure: string;
  hash: string;
  settings: unknown;
}

/** Writes down what runs here, or makes sure that it is the same. @returns the hash of the settings */
async function begin(store: FileStore, figure: string, settings: unknown): Promise<string> {
  const hash = hashOf(figure, settings);
  const there = parsed<RunFile>(await readText(store, "run.json"), "run.json");
  if (!there) await writeText(store, "run.json", JSON.stringify({ figure, hash, settings }, null, 1));
  else if (there.hash !== hash)
    throw new PaperError(
      "paper/other-run",
      `${store.label} holds "${there.figure}" with other settings (${there.hash}, not ${hash}); see its run.json. Name another folder, or remove this one.`,
    );
  return hash;
}

/** Of all that results depend on. A model's folder may lie elsewhere on another machine: of its label the last part counts. */
function hashOf(figure: string, settings: unknown): string {
  const text = JSON.stringify({ figure, settings }, (key, value) =>
    key === "label" && !String(value).startsWith("hf:") ? lastPart(String(value)) : value,
  );
  return fnv1a(text).toString(16).padStart(8, "0");
}

const fileOf = ({ id }: Work) => `cells/${id}.json`;

/** Undefined where the cell is not there, or is of other settings. */
async function readCell(store: FileStore, work: Work, hash: string): Promise<unknown> {
  const file = parsed<{ hash: string; result: unknown }>(await readText(store, fileOf(work)), fileOf(work));
  return file?.hash === hash ? file.result : undefined;
}

function parsed<T>(text: string | undefined, name: string): T | undefined {
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text) as T;
  } catch (cause) {
    throw new PaperError("paper/damaged", `${name} is damaged. Remove it; it is then computed again.`, { cause });
  }
}
