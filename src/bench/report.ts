/**
 * What a benchmark says, as one JSON object a host: everything that a number depends on stands beside it. Times are
 * milliseconds. Tables (`tables.ts`) and plots (`plot.ts`) are made from this and nothing else.
 */
import type { AdapterKind } from "../gpu/host.ts";
import type { Backend } from "../hosts/facts.ts";

/** All of one run of `superlens bench --json`. */
export interface BenchDocument {
  reports: Report[];
}

/** One model on one host. */
export interface Report {
  /** ISO 8601. */
  date: string;
  /** Of superlens: the commit, with `+` when files were changed since; the version where there is no repository. */
  commit: string;
  host: string;
  hostVersion: string;
  /** The implementation of WebGPU. Numbers of two are never comparable without saying so. */
  backend: Backend;
  adapter: { name: string; kind: AdapterKind };
  /** A shape's name, or where the model came from. */
  model: string;
  /** Whether the weights are random, of a shape. */
  isRandom: boolean;
  shape: ModelShape;
  /** Type of the weights on the GPU. */
  storage: string;
  load: LoadTimes;
  tests: TestResult[];
  ceilings?: Ceilings;
  profile?: Profile[];
}

/** The sizes of a model that decide how much there is to compute. */
export interface ModelShape {
  family: string;
  layers: number;
  dModel: number;
  heads: number;
  kvHeads: number;
  dMlp: number;
  vocabSize: number;
  maxPositions: number;
}

/** From nothing to the first token. */
export interface LoadTimes {
  /** Where the weights were: made in memory, or in files (a folder, an address). */
  from: "memory" | "files";
  /** Bytes of weights that were read. */
  bytes: number;
  /** The request of a device. */
  deviceMs: number;
  /** `loadModel`, from the open source to weights on the GPU. */
  ms: number;
  /** The part of it in which bytes were fetched; for random weights, made. */
  readMs: number;
  /** Positions of the prompt whose first token is timed. */
  promptTokens: number;
  /** That token, on a device that has compiled nothing yet. */
  firstTokenMs: number;
  /** All of the above in a row. */
  coldFirstTokenMs: number;
}

/** `pp128`: a prompt of 128 tokens. `tg32`: 32 tokens, one by one. With a batch: `tg32 b8`. */
export interface TestResult {
  name: string;
  batch: number;
  /** Of each sequence, in one run. */
  tokens: number;
  /** Positions in the cache before the run. */
  depth: number;
  /** Each timed run, in order. */
  runs: number[];
  medianMs: number;
  spread: { minMs: number; maxMs: number };
  /** Of all sequences together, by the median. */
  tokensPerSecond: number;
  /** Floating-point operations of matmuls and attention in one run. */
  operations: number;
  gflops: number;
  /** Bytes of weight matrices read in one run, divided by all its tokens. */
  bytesReadPerToken: number;
  dispatchesPerToken: number;
  submitsPerToken: number;
  /** Most bytes of GPU memory at once, weights included. */
  peakBytes: number;
  /** Against the shortest time that the ceilings allow; see `fractionOfCeiling`. Absent without ceilings. */
  fractionOfCeiling?: number;
  /** Which ceiling that is. */
  boundBy?: "matmul" | "weights";
  /** Every run's output was compared with the reference kernels'; a run that differs ends the benchmark. */
  check: "ok";
  /** Largest difference of logits from the reference, as a part of the largest of them. */
  largestError: number;
}

/** What the adapter can do with this engine's kernels, measured in the same run. */
export interface Ceilings {
  /** The best matmul of many rows. */
  matmul: { gflops: number; kernel: string; rows: number; width: number; outWidth: number };
  /** The best matmul of one row, by the bytes of its weights. */
  weights: { gigabytesPerSecond: number; kernel: string; width: number; outWidth: number };
  /** One of many small dispatches in a pass. */
  dispatchMicroseconds: number;
}

/** Where the time of one run went, by the GPU's own clock. */
export interface Profile {
  test: string;
  /** Longest first. */
  kernels: { kernel: string; dispatches: number; ms: number; share: number }[];
}
