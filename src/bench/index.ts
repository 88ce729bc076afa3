/**
 * Benchmarks: the same measurement on every host. Imports nothing of Node's, so a page can run it.
 *
 * @module superlens/bench
 */
export type {} from "../globals.ts";
export type { Backend } from "../hosts/facts.ts";
export type { FloatStorage } from "../kernels/storage.ts";
export { type BenchOptions, DEFAULT_OPTIONS, planTests, type TestPlan } from "./options.ts";
export { barPlots } from "./plot.ts";
export { RandomSource } from "./random-source.ts";
export type { BenchDocument, Ceilings, LoadTimes, ModelShape, Profile, Report, TestResult } from "./report.ts";
export { type BenchProgress, type RunOptions, runBench } from "./run.ts";
export { SHAPE_NAMES, SHAPES, type ShapeName } from "./shapes.ts";
export type { Subject } from "./subject.ts";
export { markdown, notesOf, type Table, tablesOf } from "./tables.ts";
