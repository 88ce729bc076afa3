/** The benchmark of `superlens bench` in the tab, on a device of its own, and its reports as tables, plots and Markdown. */

import { DEFAULT_OPTIONS } from "../../bench/options.ts";
import { barPlots } from "../../bench/plot.ts";
import type { Report } from "../../bench/report.ts";
import { type BenchProgress, runBench } from "../../bench/run.ts";
import type { ShapeName } from "../../bench/shapes.ts";
import { markdown, notesOf, type Table, tablesOf } from "../../bench/tables.ts";
import type { Running } from "../protocol.ts";
import { type FoundModel, sourceOf } from "./models.ts";
import { unload } from "./session.ts";

export interface BenchArgs {
  readonly subject: { readonly shape: ShapeName } | FoundModel;
  readonly options: {
    readonly prompts: readonly number[];
    readonly generate: readonly number[];
    readonly batches: readonly number[];
    readonly runs: number;
    readonly ceilings: boolean;
    readonly profile: boolean;
  };
  readonly commit: string;
  /** Tells runs apart that are asked alike. */
  readonly run: number;
}

/** What is shown of reports. */
export interface Shown {
  readonly tables: readonly Table[];
  readonly notes: readonly string[];
  readonly markdown: string;
  readonly plots: readonly string[];
}

/** Measures a model, or one of random weights. The model of the other views is ended, so that the two do not share the GPU. */
export async function bench({ subject, options, commit }: BenchArgs, { signal, onProgress }: Running): Promise<Report> {
  unload();
  const of =
    "shape" in subject
      ? subject
      : { source: sourceOf(subject), ...("address" in subject && { label: subject.address }) };
  const report = ({ stage, detail }: BenchProgress) => onProgress({ done: 0, total: 0, what: `${stage}: ${detail}` });
  return runBench(of, { ...DEFAULT_OPTIONS, ...options, commit, onProgress: report, signal });
}

export async function show({ reports }: { reports: readonly Report[] }): Promise<Shown> {
  return {
    tables: tablesOf(reports),
    notes: notesOf(reports),
    markdown: markdown(reports),
    plots: await Promise.all(barPlots(reports).map((plot) => plot.svg())),
  };
}
