/** Rows brought to a standard place and spread, and back. */
import reduce from "../../shaders/reduce.wgsl";
import standardizeSource from "../../shaders/row_standardize.wgsl";
import statisticsSource from "../../shaders/row_statistics.wgsl";
import gradientSource from "../../shaders/row_statistics_gradient.wgsl";
import sumsSource from "../../shaders/row_sums.wgsl";
import { defineKernel, f32, u32 } from "../gpu/kernel.ts";
import { type BufferSlice, foldGrid, type Recorder } from "../gpu/recorder.ts";
import { elementGrid, reduceConstants } from "./launch.ts";

const STATISTICS = defineKernel({
  name: "row statistics",
  sources: [reduce, statisticsSource],
  bindings: { x: "read", out: "write" },
  params: u32("rowCount", "width"),
});

const STANDARDIZE = defineKernel({
  name: "row standardize",
  sources: standardizeSource,
  bindings: { statistics: "read", x: "write" },
  params: { ...u32("count", "width"), ...f32("eps") },
});

const SUMS = defineKernel({
  name: "row sums",
  sources: [reduce, sumsSource],
  bindings: { dy: "read", y: "read", statistics: "read", out: "write" },
  params: { ...u32("rowCount", "width"), ...f32("eps") },
});

const GRADIENT = defineKernel({
  name: "row statistics gradient",
  sources: gradientSource,
  bindings: { x: "read", statistics: "read", gradients: "read", out: "write" },
  params: u32("count", "width"),
});

/** Rows of one width. */
export interface RowSize {
  readonly rows: number;
  readonly width: number;
}

/** out[row] = (mean, deviation of a sample), or (0, root mean square); x [rows, width], out [rows, 2]. */
export function rowStatistics(
  recorder: Recorder,
  isCentred: boolean,
  x: BufferSlice,
  { rows, width }: RowSize,
  out: BufferSlice,
): void {
  recorder.dispatch(STATISTICS, {
    params: { rowCount: rows, width },
    buffers: { x, out },
    workgroups: foldGrid(recorder.gpu, rows),
    constants: { ...reduceConstants(recorder), CENTRED: isCentred ? 1 : 0 },
  });
}

const KIND = { standardize: 0, back: 1, "standardize gradient": 2, "back gradient": 3 } as const;

/** In place, x [rows, width], by statistics [rows, 2]. */
export function standardizeRows(
  recorder: Recorder,
  kind: keyof typeof KIND,
  statistics: BufferSlice,
  eps: number,
  x: BufferSlice,
  { rows, width }: RowSize,
): void {
  const count = rows * width;
  recorder.dispatch(STANDARDIZE, {
    params: { count, width, eps },
    buffers: { statistics, x },
    workgroups: elementGrid(recorder, count),
    constants: { KIND: KIND[kind] },
  });
}

/** The gradient of statistics [rows, 2]; `eps` where y was standardized by them, undefined where it is to be brought back. */
export function rowSums(
  recorder: Recorder,
  dy: BufferSlice,
  y: BufferSlice,
  statistics: BufferSlice | undefined,
  eps: number,
  { rows, width }: RowSize,
  out: BufferSlice,
): void {
  recorder.dispatch(SUMS, {
    params: { rowCount: rows, width, eps },
    buffers: { dy, y, statistics: statistics ?? recorder.gpu.zeros, out },
    workgroups: foldGrid(recorder.gpu, rows),
    constants: { ...reduceConstants(recorder), DIVIDED: statistics ? 1 : 0 },
  });
}

/** The gradient of x [rows, width], given that of its statistics [rows, 2]. */
export function rowStatisticsGradient(
  recorder: Recorder,
  isCentred: boolean,
  buffers: { x: BufferSlice; statistics: BufferSlice; gradients: BufferSlice; out: BufferSlice },
  { rows, width }: RowSize,
): void {
  const count = rows * width;
  recorder.dispatch(GRADIENT, {
    params: { count, width },
    buffers,
    workgroups: elementGrid(recorder, count),
    constants: { CENTRED: isCentred ? 1 : 0 },
  });
}
