/**
 * Matmuls of a mixture of experts: each pair of a row and a slot has the matrix of an expert of its own. The matrices of all
 * experts lie stacked, [experts * outWidth, width]; see expert_rows.wgsl.
 */
import expertGroups from "../../shaders/expert_groups.wgsl";
import expertMatmul from "../../shaders/expert_matmul.wgsl";
import expertMatmulGrouped from "../../shaders/expert_matmul_grouped.wgsl";
import expertMatmulTransposed from "../../shaders/expert_matmul_transposed.wgsl";
import expertRows from "../../shaders/expert_rows.wgsl";
import expertWeightGradient from "../../shaders/expert_weight_gradient.wgsl";
import headDotsSource from "../../shaders/head_dots.wgsl";
import rowsAligned from "../../shaders/rows_aligned.wgsl";
import rowsAny from "../../shaders/rows_any.wgsl";
import weighSource from "../../shaders/weigh.wgsl";
import { type Constants, defineKernel, u32 } from "../gpu/kernel.ts";
import type { BufferSlice, Recorder } from "../gpu/recorder.ts";
import { foldGrid } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { elementGrid } from "./launch.ts";
import type { Matrix } from "./matrix.ts";
import { byStorage, ELEMENT_BYTES, STORAGE_SOURCE, type StorageType } from "./storage.ts";
import type { View } from "./view.ts";

const EXPERT_PARAMS = {
  ...u32("pairCount", "slots", "experts", "outWidth", "width", "rowStart", "rowStride", "slotStride"),
  ...u32("indexStart", "indexStride", "weightStride", "firstRow", "partRows"),
  ...u32("gradStart", "gradStride", "gradSlotStride", "blocks"),
};

/** Columns of a workgroup and invocations a column. On CPUs an invocation has a column to itself. */
const SIZES = { hardware: { COLUMNS: 4, LANES: 16 }, software: { COLUMNS: 32, LANES: 1 } };

type Adapter = keyof typeof SIZES;

function byAdapter<Kernel>(make: (adapter: Adapter) => Kernel): Record<Adapter, Kernel> {
  return { hardware: make("hardware"), software: make("software") };
}

function matmulKernel(storage: StorageType, rows: "aligned" | "any", adapter: Adapter) {
  return defineKernel({
    name: `expert matmul ${storage} ${rows}`,
    sources: [STORAGE_SOURCE[storage], { aligned: rowsAligned, any: rowsAny }[rows], expertRows, expertMatmul],
    bindings: { rows: "read", weights: "read", indices: "read", bias: "read", out: "write" },
    params: EXPERT_PARAMS,
    sizes: SIZES[adapter],
  });
}

/** Pairs of a block, which share an expert; invocations beside each other along its columns. */
const ROWS = 8;
const GROUPED_LANES = { hardware: 32, software: 8 };
/** From so many pairs an expert on, blocks are full enough for sorting to pay. */
const WORTH_SORTING = 4;

const GROUPS = byAdapter((adapter) =>
  defineKernel({
    name: "expert groups",
    sources: [expertRows, expertGroups],
    bindings: { owners: "write", order: "write", indices: "read" },
    params: EXPERT_PARAMS,
    sizes: { ROWS, THREADS: adapter === "hardware" ? 256 : 1 },
  }),
);

function groupedKernel(storage: StorageType, rows: "aligned" | "any", adapter: Adapter) {
  return defineKernel({
    name: `expert matmul grouped ${storage} ${rows}`,
    sources: [STORAGE_SOURCE[storage], { aligned: rowsAligned, any: rowsAny }[rows], expertRows, expertMatmulGrouped],
    bindings: {
      rows: "read",
      weights: "read",
      indices: "read",
      bias: "read",
      out: "write",
      owners: "read",
      order: "read",
    },
    params: EXPERT_PARAMS,
    tile: { ROWS },
    sizes: { LANES: GROUPED_LANES[adapter] },
  });
}

function transposedKernel(storage: StorageType) {
  return defineKernel({
    name: `expert matmul transposed ${storage}`,
    sources: [STORAGE_SOURCE[storage], expertRows, expertMatmulTransposed],
    bindings: { dy: "read", weights: "read", indices: "read", out: "write" },
    params: EXPERT_PARAMS,
  });
}

const waysOf = <Kernel>(make: (storage: StorageType, rows: "aligned" | "any", adapter: Adapter) => Kernel) =>
  byStorage((storage) =>
    byAdapter((adapter) => ({ aligned: make(storage, "aligned", adapter), any: make(storage, "any", adapter) })),
  );

const MATMUL = waysOf(matmulKernel);
const GROUPED = waysOf(groupedKernel);

const TRANSPOSED = byStorage(transposedKernel);

const WEIGHT_GRADIENT = defineKernel({
  name: "expert weight gradient",
  sources: [expertRows, expertWeightGradient],
  bindings: { dy: "read", x: "read", indices: "read", out: "write" },
  params: EXPERT_PARAMS,
});

/** The experts of each row: numbers [row, slot], and of how many. */
export interface ExpertChoice {
  readonly indices: View;
  readonly experts: number;
}

/** The parameters of all kernels here, for stacked matrices `W`. */
function paramsOf(
  { indices, experts }: ExpertChoice,
  rows: number,
  { outWidth, width, stride }: Pick<Matrix, "outWidth" | "width" | "stride">,
  x: View | undefined,
  dy: View | undefined,
) {
  const slotStride = (view: View | undefined) => (view === undefined || view.heads === 1 ? 0 : view.headStride);
  return {
    pairCount: rows * indices.width,
    slots: indices.width,
    experts,
    outWidth: outWidth / experts,
    width,
    rowStart: x?.start ?? 0,
    rowStride: x?.rowStride ?? 0,
    slotStride: slotStride(x),
    indexStart: indices.start,
    indexStride: indices.rowStride,
    weightStride: stride,
    gradStart: dy?.start ?? 0,
    gradStride: dy?.rowStride ?? 0,
    gradSlotStride: slotStride(dy),
    blocks: 0,
  };
}

/** What reading the matrices of the chosen experts costs; of many rows, what it costs at most. */
function workOf({ experts, indices }: ExpertChoice, rows: number, { outWidth, width, storage, parts }: Matrix) {
  const pairs = rows * indices.width;
  const ofOne = (outWidth / experts) * width;
  return {
    operations: (2 * pairs * ofOne) / parts.length,
    weightBytes: (Math.min(pairs, experts) * ofOne * ELEMENT_BYTES[storage]) / parts.length,
  };
}

/** The pairs sorted by experts, in blocks; see expert_groups.wgsl. */
function sortedPairs(
  recorder: Recorder,
  { indices, experts }: ExpertChoice,
  params: ReturnType<typeof paramsOf>,
  adapter: Adapter,
): { owners: Tensor; order: Tensor; blocks: number } {
  const blocks = Math.ceil(params.pairCount / ROWS) + experts;
  const [owners, order] = [recorder.temp(blocks), recorder.temp(blocks, ROWS)];
  recorder.dispatch(GROUPS[adapter], {
    params: { ...params, blocks, firstRow: 0, partRows: 0 },
    buffers: { owners, order, indices: indices.buffer },
    workgroups: [1],
  });
  return { owners, order, blocks };
}

/**
 * out[row, slot] = W[expert of the slot] x[row, slot] (+ bias); x [rows, slots or one, width], out packed. Many rows are sorted by
 * experts; for few, or with reference kernels, each pair reads its expert by itself.
 */
export function expertsMatmul(
  recorder: Recorder,
  x: View,
  rows: number,
  choice: ExpertChoice,
  W: Matrix,
  bias: BufferSlice | undefined,
  out: View,
): void {
  const { gpu } = recorder;
  const params = paramsOf(choice, rows, W, x, undefined);
  const isAligned = [W.width, x.start, x.rowStride, params.slotStride].every((each) => each % 4 === 0);
  const adapter = gpu.host.adapterInfo.isSoftware ? "software" : "hardware";
  const constants: Constants = bias ? { HAS_BIAS: 1 } : {};
  const alignment = isAligned ? "aligned" : "any";
  const sorts = recorder.kernels !== "reference" && params.pairCount >= WORTH_SORTING * choice.experts;
  const sorted = sorts ? sortedPairs(recorder, choice, params, adapter) : undefined;
  for (const part of W.parts) {
    const call = {
      params: { ...params, firstRow: part.firstRow, partRows: part.rows, blocks: sorted?.blocks ?? 0 },
      buffers: {
        rows: x.buffer,
        weights: part,
        indices: choice.indices.buffer,
        bias: bias ?? gpu.zeros,
        out: out.buffer,
      },
      constants,
      work: workOf(choice, rows, W),
    };
    if (sorted) {
      recorder.dispatch(GROUPED[part.storage ?? W.storage][adapter][alignment], {
        ...call,
        buffers: { ...call.buffers, owners: sorted.owners, order: sorted.order },
        workgroups: [Math.ceil(params.outWidth / (4 * GROUPED_LANES[adapter])), sorted.blocks],
      });
    } else {
      const columnBlocks = Math.ceil(params.outWidth / SIZES[adapter].COLUMNS);
      recorder.dispatch(MATMUL[part.storage ?? W.storage][adapter][alignment], {
        ...call,
        workgroups: foldGrid(gpu, params.pairCount * columnBlocks),
      });
    }
  }
  if (sorted) for (const temporary of [sorted.owners, sorted.order]) recorder.release(temporary);
}

/** out[row, slot] = dy[row, slot] W[expert of the slot]; out [rows, slots, width], packed. */
export function expertsMatmulTransposed(
  recorder: Recorder,
  dy: View,
  rows: number,
  choice: ExpertChoice,
  W: Matrix,
  out: View,
): void {
  const params = paramsOf(choice, rows, W, undefined, dy);
  W.parts.forEach((part, index) => {
    recorder.dispatch(TRANSPOSED[part.storage ?? W.storage], {
      params: { ...params, firstRow: part.firstRow, partRows: part.rows },
      buffers: { dy: dy.buffer, weights: part, indices: choice.indices.buffer, out: out.buffer },
      workgroups: elementGrid(recorder, params.pairCount * Math.ceil(W.width / 4)),
      constants: index > 0 ? { ADDS: 1 } : {},
      work: workOf(choice, rows, W),
    });
  });
}

/** dW[expert] += dy^T x over the pairs of each expert. */
export function addExpertsGradient(
  recorder: Recorder,
  dy: View,
  x: View,
  rows: number,
  choice: ExpertChoice,
  dW: Matrix,
): void {
  for (const part of dW.parts) {
    recorder.dispatch(WEIGHT_GRADIENT, {
      params: { ...paramsOf(choice, rows, dW, x, dy), firstRow: part.firstRow, partRows: part.rows },
      buffers: { dy: dy.buffer, x: x.buffer, indices: choice.indices.buffer, out: part },
      workgroups: elementGrid(recorder, part.rows * Math.ceil(dW.width / 4)),
    });
  }
}

/** db[expert] += the sum of dy over the pairs of each expert; db [experts, width of dy]. */
export function addExpertsBiasGradient(
  recorder: Recorder,
  dy: View,
  rows: number,
  choice: ExpertChoice,
  db: BufferSlice,
): void {
  const outWidth = choice.experts * dy.width;
  recorder.dispatch(WEIGHT_GRADIENT, {
    params: {
      ...paramsOf(choice, rows, { outWidth, width: 1, stride: 1 }, undefined, dy),
      firstRow: 0,
      partRows: outWidth,
    },
    buffers: { dy: dy.buffer, x: recorder.gpu.zeros, indices: choice.indices.buffer, out: db },
    workgroups: elementGrid(recorder, outWidth),
    constants: { BIAS: 1 },
  });
}

const WEIGH = defineKernel({
  name: "weigh",
  sources: weighSource,
  bindings: { x: "read", weights: "read", out: "write" },
  params: u32("count", "heads", "width", "start", "rowStride", "headStride", "weightStart", "weightStride"),
});

/** out[row, head] = x[row, head] weights[row, head], or with `sum` their sum over heads; out packed. */
export function weigh(recorder: Recorder, x: View, weights: View, rows: number, out: View, sum: boolean): void {
  const count = rows * out.heads * out.width;
  recorder.dispatch(WEIGH, {
    params: {
      count,
      heads: weights.width,
      width: out.width,
      start: x.start,
      rowStride: x.rowStride,
      headStride: x.heads === 1 ? 0 : x.headStride,
      weightStart: weights.start,
      weightStride: weights.rowStride,
    },
    buffers: { x: x.buffer, weights: weights.buffer, out: out.buffer },
    workgroups: elementGrid(recorder, count),
    constants: sum ? { SUM: 1 } : {},
  });
}

const HEAD_DOTS = defineKernel({
  name: "head dots",
  sources: headDotsSource,
  bindings: { a: "read", b: "read", out: "write" },
  params: {
    ...u32("count", "heads", "width", "start", "rowStride", "headStride"),
    ...u32("otherStart", "otherRowStride", "otherHeadStride"),
  },
});

/** out[row, head] = a[row, head] . b[row, head]; out packed. */
export function headDots(recorder: Recorder, a: View, b: View, rows: number, out: View): void {
  const count = rows * a.heads;
  recorder.dispatch(HEAD_DOTS, {
    params: {
      count,
      heads: a.heads,
      width: a.width,
      start: a.start,
      rowStride: a.rowStride,
      headStride: a.headStride,
      otherStart: b.start,
      otherRowStride: b.rowStride,
      otherHeadStride: b.heads === 1 ? 0 : b.headStride,
    },
    buffers: { a: a.buffer, b: b.buffer, out: out.buffer },
    workgroups: elementGrid(recorder, count),
  });
}
