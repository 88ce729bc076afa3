/** The readouts' own kernels, and the functions that record them. Each kernel's file in `shaders/` says what it computes. */
import orderedKey from "../../../shaders/ordered_key.wgsl";
import attentionSource from "../../../shaders/readout_attention.wgsl";
import topKSource from "../../../shaders/readout_top_k.wgsl";
import transposedSource from "../../../shaders/readout_transposed.wgsl";
import reduceSource from "../../../shaders/reduce.wgsl";
import { defineKernel, u32 } from "../../gpu/kernel.ts";
import { foldGrid, type Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { matmul } from "../../kernels/calls.ts";
import { elementGrid } from "../../kernels/launch.ts";
import type { Matrix } from "../../kernels/matrix.ts";
import { byStorage, STORAGE_SOURCE, type StorageType } from "../../kernels/storage.ts";

const transposed = (storage: StorageType) =>
  defineKernel({
    name: `readout transposed ${storage}`,
    sources: [STORAGE_SOURCE[storage], transposedSource],
    bindings: { x: "read", weights: "read", out: "write" },
    params: u32("rowCount", "width", "weightRows", "weightStride", "xStart", "xStride"),
  });

const TRANSPOSED = byStorage(transposed);

const TOP_K = defineKernel({
  name: "readout top k",
  sources: [orderedKey, topKSource],
  bindings: { x: "read", out: "write" },
  params: u32("rowCount", "width", "count"),
});

const ATTENTION_SUMS = defineKernel({
  name: "readout attention",
  sources: [reduceSource, attentionSource],
  bindings: { pattern: "read", queryPositions: "read", tokens: "read", out: "write" },
  params: u32("rowCount", "nHeads", "queries", "keys", "firstKey"),
});

/** x [rows, W.outWidth] times W: a temporary [rows, W.width]. */
export function matmulTransposed(recorder: Recorder, x: Tensor, rows: number, W: Matrix): Tensor {
  const out = recorder.temp(rows, W.width);
  if (W.layout === "conv1d") {
    matmul(recorder, x, rows, turned(W), out);
    return out;
  }
  W.parts.forEach((part, index) => {
    recorder.dispatch(TRANSPOSED[part.storage ?? W.storage], {
      params: {
        rowCount: rows,
        width: W.width,
        weightRows: part.rows,
        weightStride: W.stride,
        xStart: part.firstRow,
        xStride: W.outWidth,
      },
      buffers: { x, weights: part, out },
      workgroups: elementGrid(recorder, rows * Math.ceil(W.width / 4)),
      constants: index > 0 ? { ACCUMULATE: 1 } : {},
    });
  });
  return out;
}

/** A matrix [in, out] is, the other way around, one that lies as [out, in]. */
function turned(W: Matrix): Matrix {
  const parts = W.parts.map((part) => ({ ...part, rows: W.width }));
  return { ...W, layout: "linear", outWidth: W.width, width: W.outWidth, parts };
}

/** A temporary [rows, count, 2] with index and bits of the `count` largest of each row of x [rows, width], falling. */
export function topK(recorder: Recorder, x: Tensor, rows: number, width: number, count: number): Tensor {
  const out = recorder.temp(rows, count, 2);
  recorder.dispatch(TOP_K, {
    params: { rowCount: rows, width, count },
    buffers: { x, out },
    workgroups: foldGrid(recorder.gpu, rows),
  });
  return out;
}

/** The sums of one attention row, in the order of `shaders/readout_attention.wgsl`. */
export const ATTENTION_SUM_NAMES = [
  "total",
  "entropy",
  "distance",
  "first",
  "previous",
  "duplicate",
  "induction",
] as const;
export type AttentionSum = (typeof ATTENTION_SUM_NAMES)[number];

/** In place of the position of a query that a shorter sequence does not have. */
export const NO_QUERY = 0xffffffff;

export interface AttentionSumsCall {
  /** [batch, head, query, key]. */
  pattern: Tensor;
  /** [batch, query], NO_QUERY for padding. */
  queryPositions: Tensor;
  /** [batch, key], for `duplicate` and `induction`. */
  tokens?: Tensor | undefined;
  excludeFirst?: boolean | undefined;
  excludeCurrent?: boolean | undefined;
  /** Whether queries see no key after their own. */
  causal: boolean;
}

/** A temporary [batch, head, query, 7] of sums over the keys. */
export function attentionSums(recorder: Recorder, call: AttentionSumsCall): Tensor {
  const [batch = 0, nHeads = 0, queries = 0, keys = 0] = call.pattern.shape;
  const rowCount = batch * nHeads * queries;
  const out = recorder.temp(batch, nHeads, queries, ATTENTION_SUM_NAMES.length);
  recorder.dispatch(ATTENTION_SUMS, {
    params: { rowCount, nHeads, queries, keys, firstKey: call.excludeFirst ? 1 : 0 },
    buffers: {
      pattern: call.pattern,
      queryPositions: call.queryPositions,
      tokens: call.tokens ?? recorder.gpu.zeros,
      out,
    },
    workgroups: foldGrid(recorder.gpu, rowCount),
    constants: {
      CAUSAL: call.causal ? 1 : 0,
      HAS_TOKENS: call.tokens ? 1 : 0,
      SKIP_CURRENT: call.excludeCurrent ? 1 : 0,
    },
  });
  return out;
}
