/** What tables and plots read reports by: people bring them back from files of JSON. */
import { STORAGE_TYPES } from "../kernels/storage.ts";
import * as s from "../schema/schema.ts";
import type { Ceilings, LoadTimes, ModelShape, Profile, Report, TestResult } from "./report.ts";

const { text, whole, number } = s;

const SHAPE = s.wholeObject<ModelShape>(
  "a model's shape",
  {
    family: text,
    layers: whole,
    dModel: whole,
    heads: whole,
    kvHeads: whole,
    dMlp: whole,
    vocabSize: whole,
    maxPositions: whole,
  },
  {},
);

const LOAD = s.wholeObject<LoadTimes>(
  "times of loading",
  {
    from: s.oneOf("memory", "files"),
    bytes: number,
    deviceMs: number,
    ms: number,
    readMs: number,
    promptTokens: whole,
    firstTokenMs: number,
    coldFirstTokenMs: number,
  },
  {},
);

const TEST = s.wholeObject<TestResult>(
  "the result of a test",
  {
    name: text,
    batch: whole,
    tokens: whole,
    depth: whole,
    runs: s.list("milliseconds", number),
    medianMs: number,
    spread: s.wholeObject<TestResult["spread"]>("a spread", { minMs: number, maxMs: number }, {}),
    tokensPerSecond: number,
    operations: number,
    gflops: number,
    bytesReadPerToken: number,
    dispatchesPerToken: number,
    submitsPerToken: number,
    peakBytes: number,
    check: s.oneOf("ok"),
    largestError: number,
  },
  { fractionOfCeiling: number, boundBy: s.oneOf("matmul", "weights") },
);

const CEILINGS = s.wholeObject<Ceilings>(
  "ceilings",
  {
    matmul: s.wholeObject<Ceilings["matmul"]>(
      "a matmul of many rows",
      { gflops: number, kernel: text, rows: whole, width: whole, outWidth: whole },
      {},
    ),
    weights: s.wholeObject<Ceilings["weights"]>(
      "a matmul of one row",
      { gigabytesPerSecond: number, kernel: text, width: whole, outWidth: whole },
      {},
    ),
    dispatchMicroseconds: number,
  },
  {},
);

const KERNEL = s.wholeObject<Profile["kernels"][number]>(
  "a kernel",
  { kernel: text, dispatches: number, ms: number, share: number },
  {},
);

const REPORT = s.wholeObject<Report>(
  "a report",
  {
    date: text,
    commit: text,
    host: text,
    hostVersion: text,
    backend: s.oneOf("Dawn", "wgpu", "WebKit"),
    adapter: s.wholeObject<Report["adapter"]>(
      "an adapter",
      { name: text, kind: s.oneOf("hardware", "lavapipe", "swiftshader", "software") },
      {},
    ),
    model: text,
    isRandom: s.flag,
    shape: SHAPE,
    storage: s.oneOf(...STORAGE_TYPES),
    load: LOAD,
    tests: s.list("results", TEST),
  },
  {
    ceilings: CEILINGS,
    profile: s.list(
      "profiles",
      s.wholeObject<Profile>("a profile", { test: text, kernels: s.list("kernels", KERNEL) }, {}),
    ),
  },
);

const REPORTS = s.list("reports", REPORT);

/** The reports that a call is given. @throws InputError `input/argument`, `input/unknown-key` */
export const readReports = (reports: readonly Report[], call: string): Report[] =>
  s.readArgument(REPORTS, reports, call, "reports");
