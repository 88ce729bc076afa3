/**
 * The whole report: every figure on every model, each a run of its own in FIGURE/MODEL/, and one page of all. A figure that
 * compares models is run on all of them together. Runs that are finished are not made again, so the report too goes on where it
 * was. A figure that a model cannot be asked is left out, and the page says why.
 */
import { type FileStore, STORE, storeOf, storeWithin, writeText } from "../checkpoint/store.ts";
import { SuperlensError } from "../errors.ts";
import * as s from "../schema/schema.ts";
import { PaperError } from "./errors.ts";
import { type AnyFigure, isComparison } from "./figure.ts";
import { type Report, type ReportRun, reportPage } from "./report-page.ts";
import { type CellProgress, FIGURE, runFigure, SHARD, type Shard } from "./runs.ts";
import type { Subjects } from "./subjects.ts";

/** Models by number, and what they are called in the report: letters, digits, dots and dashes. */
export interface ReportModels {
  readonly names: readonly string[];
  readonly subjects: Subjects;
}

/** Options of `runReport`. */
export interface RunReportOptions {
  /** Where the files go: a folder's name, or a store. */
  store: string | FileStore;
  /** What the models are called in the report: letters, digits, dots and dashes. */
  names: readonly string[];
  /** The models of a figure, where they are others; undefined for a figure of which they are not. */
  modelsOf?: (figure: AnyFigure) => ReportModels | undefined;
  /** Fewer prompts and cells. */
  quick?: boolean;
  /** Only a part of each run's cells, and no page. */
  shard?: Shard;
  /** Ends the report with `signal.reason` between two cells. */
  signal?: AbortSignal;
  /** After each cell of a run, which is named by its folder. */
  onProgress?: (progress: CellProgress & { readonly run: string }) => void;
}

export const RUN_REPORT_OPTIONS = s.object<RunReportOptions, RunReportOptions>("the options of runReport", {
  store: s.required(STORE),
  names: s.required(s.list("names", s.text)),
  modelsOf: s.callback,
  quick: s.flag,
  shard: SHARD,
  signal: s.signal,
  onProgress: s.callback,
});

/** Of errors that say what a figure needs. Others end the report. */
const LEAVES_OUT = [
  "paper/one-token",
  "paper/own-models",
  "paper/vocabulary",
  "paper/no-tokenizer",
  "paper/prompt",
  "paper/task",
  "input/too-long",
  "input/answer-boundary",
];

const MODELS = s.madeObject<Subjects>("models, such as a SubjectList", "count", "at");

const REPORT_MODELS = s.object<ReportModels>("models and their names", {
  names: s.required(s.list("names", s.text)),
  subjects: s.required(MODELS),
});

/** @throws PaperError `paper/names` */
function checkNames({ names, subjects }: ReportModels): void {
  if (names.length === subjects.count && new Set(names).size === subjects.count) return;
  throw new PaperError(
    "paper/names",
    `A report of ${subjects.count} models needs as many names, all different; it got ${names.join(", ")}.`,
  );
}

const COMPARED = "all models";

/** Makes the report. Of a shard it is undefined. */
export async function runReport(
  figures: readonly AnyFigure[],
  subjects: Subjects,
  options: RunReportOptions,
): Promise<Report | undefined> {
  s.readArgument(s.list("figures, such as FIGURES", FIGURE), figures, "runReport", "figures");
  s.readArgument(MODELS, subjects, "runReport", "subjects");
  const read = s.readOptions(RUN_REPORT_OPTIONS, options, "runReport");
  checkNames({ names: read.names, subjects });
  const store = storeOf(read.store);
  const own = figures.flatMap((figure) => {
    const given = read.modelsOf?.(figure);
    if (given === undefined) return [];
    const models = s.readArgument(REPORT_MODELS, given, "runReport", "what modelsOf gives");
    checkNames(models);
    return [{ figure, models }];
  });
  const others = figures.filter((figure) => !own.some((one) => one.figure === figure));
  const planned = [
    ...plannedRuns(others, { names: read.names, subjects }),
    ...own.flatMap(({ figure, models }) => plannedRuns([figure], models)),
  ];
  const runs: ReportRun[] = [];
  for (const { figure, model, of } of planned) {
    const folder = `${figure.name}/${model.replace(COMPARED, "all")}`;
    runs.push({
      figure: figure.name,
      model,
      folder,
      ...(await runOne(figure, of, storeWithin(store, folder), folder, read)),
    });
  }
  if (read.shard) return undefined;
  const report = { figures: figures.map(({ name, asks, paper }) => ({ name, asks, paper })), runs };
  await writeText(store, "report.json", JSON.stringify(findings(report), null, 1));
  await writeText(store, "index.html", reportPage(report));
  return report;
}

/** Each figure on each model, model by model, and then those that compare them. */
function plannedRuns(figures: readonly AnyFigure[], { names, subjects }: ReportModels) {
  const single = names.flatMap((model, index) => {
    const alone: Subjects = { count: 1, at: () => subjects.at(index) };
    return figures.filter((figure) => !isComparison(figure)).map((figure) => ({ figure, model, of: alone }));
  });
  return [...single, ...figures.filter(isComparison).map((figure) => ({ figure, model: COMPARED, of: subjects }))];
}

async function runOne(
  figure: AnyFigure,
  subjects: Subjects,
  store: FileStore,
  folder: string,
  { quick, shard, signal, onProgress }: RunReportOptions,
): Promise<Pick<ReportRun, "summary" | "reason">> {
  try {
    const summary = await runFigure(figure, subjects, {
      store,
      ...(quick && { quick }),
      ...(shard && { shard }),
      ...(signal && { signal }),
      ...(onProgress && { onProgress: (progress) => onProgress({ run: folder, ...progress }) }),
    });
    return { summary, reason: undefined };
  } catch (error) {
    if (!(error instanceof SuperlensError && LEAVES_OUT.includes(error.code))) throw error;
    return { summary: undefined, reason: error.message };
  }
}

/** What was found. Plots and numbers are in the folders of the runs. */
const findings = ({ figures, runs }: Report) => ({
  figures,
  runs: runs.map(({ summary, ...run }) => ({
    ...run,
    ...(summary && {
      verdict: summary.verdict,
      sentence: summary.sentence,
      plots: summary.plots.map(({ name }) => name),
    }),
  })),
});
