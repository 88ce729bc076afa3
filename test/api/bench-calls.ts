/** Calls of `superlens/bench`. */
import { SHAPES } from "../../src/bench/index.ts";
import { RUN_OPTIONS } from "../../src/bench/run.ts";
import { isRecord } from "../../src/schema/schema.ts";
import { onPartsOfTestGpu } from "../support/device-part.ts";
import type { Call } from "./calls.ts";
import * as api from "./public.ts";

/** A benchmark whose device is there has used all that it was given but for numbers, which were read; what follows takes time. */
class Loaded extends Error {}

/** The first share of the weights is loaded. */
const isLoaded = ({ detail }: api.BenchProgress) => detail.endsWith("%");

const PLAN = { ...api.DEFAULT_OPTIONS, prompts: [1], generate: [0], runs: 1, tune: false };

const SMALL = { ...PLAN, commit: "x", quiet: true };

const runBench: typeof api.runBench = (subject, options) => onPartsOfTestGpu(() => api.runBench(subject, options));

/** Begins a benchmark, and ends it when its model is loaded; when its device is there, if nobody is to be told of progress. */
async function beginBench(subject: api.Subject, options: api.RunOptions): Promise<void> {
  const stop = new AbortController();
  const end = () => {
    stop.abort(new Loaded());
    throw new Loaded(); // `options` may have another signal, or none
  };
  const ends = {
    signal: stop.signal,
    onProgress: (progress: api.BenchProgress) => isLoaded(progress) && end(),
    ...(isRecord(options) && "onProgress" in options && { onAdapter: end }),
  };
  await runBench(subject, isRecord(options) ? { ...ends, ...options } : options).catch((error: unknown) => {
    if (!(error instanceof Loaded)) throw error;
  });
}

/** Measuring them takes a minute on a software adapter; test/bench does. */
const CEILINGS: api.Report["ceilings"] = {
  matmul: { gflops: 1, kernel: "tiled 64x64", rows: 2, width: 3, outWidth: 4 },
  weights: { gigabytesPerSecond: 1, kernel: "shared 4x16", width: 3, outWidth: 4 },
  dispatchMicroseconds: 1,
};

/** The calls, on a report that a run gave. */
export async function benchCalls(): Promise<Call[]> {
  const report = { ...(await runBench({ shape: "tiny" }, SMALL)), ceilings: CEILINGS };
  const source = await api.RandomSource.create(SHAPES.tiny);
  const ofReports = { barPlots: api.barPlots, tablesOf: api.tablesOf, notesOf: api.notesOf, markdown: api.markdown };
  return [
    {
      name: "runBench",
      args: [{ shape: "tiny" }, SMALL],
      run: beginBench,
      options: RUN_OPTIONS,
    },
    ...Object.entries({ shape: "tiny", dtype: "bf16" }).map(([key, value]) => ({
      name: `a shape's ${key}`,
      args: [value],
      run: (given: unknown) => beginBench({ shape: "tiny", [key]: given } as api.Subject, SMALL),
    })),
    { name: "planTests", args: [PLAN, { maxPositions: 8 }], run: api.planTests },
    ...Object.entries(ofReports).map(([name, run]) => ({ name, args: [[report]], run })),
    ...Object.keys(report).map((key) => ({
      name: `a report's ${key}`,
      args: [report[key as keyof api.Report]],
      run: (value: unknown) => api.markdown([{ ...report, [key]: value } as api.Report]),
    })),
    {
      name: "RandomSource",
      covers: ["RandomSource"],
      args: [SHAPES.tiny, "tiny", "f32"],
      run: api.RandomSource.create,
    },
    { name: "RandomSource.size", args: ["config.json"], run: (file) => source.size(file) },
    {
      name: "RandomSource.read",
      args: ["config.json", 0, 1],
      run: (file, start, end) => source.read(file, start, end),
    },
  ];
}
