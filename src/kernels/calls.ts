/**
 * The operations of a forward pass: each function records one operation on rows of activations.
 *
 * "Rows" are tokens: a batch of sequences of any lengths is one list of rows without padding. A row table has the sequence,
 * position, slot and token of each row.
 */
import type { Constants } from "../gpu/kernel.ts";
import type { BufferSlice, Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import * as kernels from "./definitions.ts";
import { elementGrid } from "./launch.ts";
import { MATMUL_FAMILY } from "./matmul.ts";
import type { MatmulCall, MatmulKernel } from "./matmul-kernels.ts";
import type { Matrix } from "./matrix.ts";
import { ELEMENT_BYTES, isWalked, type StorageType } from "./storage.ts";
import type { View } from "./view.ts";

/** `gelu`: exact, with erf; `gelu_tanh`: the tanh approximation; `gelu_quick`: x * sigmoid(1.702 x). */
export type Activation =
  | ("relu" | "silu" | "gelu" | "gelu_tanh" | "gelu_quick" | "identity")
  | ("relu2" | "gelu_10" | "laplace" | "leaky_relu" | "mish" | "relu6" | "sigmoid" | "tanh");

/** Code of each activation in `shaders/activation.wgsl`. */
export const ACTIVATION_CODE: Record<Activation, number> = {
  identity: 0,
  relu: 1,
  silu: 2,
  gelu: 3,
  gelu_tanh: 4,
  gelu_quick: 5,
  relu2: 6,
  gelu_10: 7,
  laplace: 8,
  leaky_relu: 9,
  mish: 10,
  relu6: 11,
  sigmoid: 12,
  tanh: 13,
};

export interface MatmulOptions {
  bias?: Tensor | undefined;
  activation?: Activation | undefined;
  /** What becomes of what lies in `out`: replaced (default), added to, or multiplied. */
  combine?: "replace" | "add" | "multiply" | undefined;
  scale?: number | undefined;
  softCap?: number | null | undefined;
  /** The kernel to use; default: what its family chooses. */
  kernel?: MatmulKernel | undefined;
  /** Element of a row of `x` where the operand starts, and the row's stride; default: the whole of `x`. */
  rowStart?: number | undefined;
  rowStride?: number | undefined;
  /** Rows lie as columns, [width, rows]; the kernel must be one that `readsTurned`. */
  turned?: boolean | undefined;
  /** First column of W used (a multiple of four), with `width` columns. */
  weightColumn?: number | undefined;
  width?: number | undefined;
  /** First row of W used (a multiple of four in conv1d layout); W has then one part, with the rows that are. */
  weightRow?: number | undefined;
  /** Element of `out` where the result starts, and its row stride; default: the whole of `out`. */
  outStart?: number | undefined;
  outStride?: number | undefined;
  /** The last columns of the result are keys and values, and go to their rows' slots instead. */
  cache?: { rowTable: BufferSlice; keys: BufferSlice; values: BufferSlice; kvWidth: number } | undefined;
}

const COMBINE_CODE = { replace: 0, add: 1, multiply: 2 };

/** out[r, n] (+ or *)= cap(act((x[r] · W[n] + bias[n]) * scale)); x [rows, width], out [rows, outWidth]. */
export function matmul(
  recorder: Recorder,
  x: BufferSlice,
  rows: number,
  W: Matrix,
  out: BufferSlice,
  options: MatmulOptions = {},
): void {
  const { gpu } = recorder;
  const { weightColumn = 0, weightRow = 0 } = options;
  const start = W.layout === "linear" ? weightColumn : weightRow;
  const kernel =
    options.kernel ?? MATMUL_FAMILY.choose(recorder, { rows, layout: W.layout, storage: kindOf(W, start) });
  const width = options.width ?? W.width;
  const operand = rowOperand(recorder, x, rows, width, kernel, options);
  const at = options.turned ? "turned" : rowsAt(width, operand.rowStart, operand.rowStride);
  const weightStart = W.layout === "linear" ? weightColumn + weightRow * W.stride : weightColumn * W.stride + weightRow;
  const { cache } = options;
  const kvWidth = cache?.kvWidth ?? 0;
  for (const part of W.parts) {
    const storage = part.storage ?? W.storage;
    const call: MatmulCall = {
      params: {
        rowCount: rows,
        outWidth: part.rows,
        width,
        rowStart: operand.rowStart,
        rowStride: operand.rowStride,
        weightStart,
        weightStride: W.stride,
        outStart: (options.outStart ?? 0) + part.firstRow,
        outStride: options.outStride ?? W.outWidth,
        biasStart: part.firstRow,
        scale: options.scale ?? 1,
        softCap: options.softCap ?? 0,
        queryWidth: W.outWidth - 2 * kvWidth,
        kvWidth,
      },
      buffers: { rows: operand.packed ?? x, weights: part, bias: options.bias ?? gpu.zeros, out },
      workgroups: kernel.grid(gpu, rows, part.rows),
      constants: matmulConstants(options),
      work: {
        operations: 2 * rows * width * part.rows,
        weightBytes: part.rows * width * ELEMENT_BYTES[storage],
      },
    };
    if (cache) recorder.dispatch(kernel.cacheKernel(storage, W.layout, at), withCache(call, cache));
    else recorder.dispatch(kernel.kernel(storage, W.layout, at), call);
  }
  if (operand.packed) recorder.release(operand.packed);
}

/** The storage to choose a kernel for: any of numbers takes blocks, too, wherever their rows begin and whatever lies beside them. */
function kindOf({ storage, parts }: Matrix, start: number): StorageType {
  if (!isWalked(storage)) return storage;
  return start % 64 === 0 && parts.every((part) => isWalked(part.storage ?? storage)) ? storage : "f32";
}

/** The call for a kernel that puts keys and values into the cache. Spreads would slow down recording. */
function withCache(
  { params, buffers: { rows, weights, bias, out }, workgroups, constants, work }: MatmulCall,
  { rowTable, keys, values }: NonNullable<MatmulOptions["cache"]>,
) {
  return { params, buffers: { rows, weights, bias, out, rowTable, keys, values }, workgroups, constants, work };
}

const rowsAt = (...places: readonly number[]) => (places.every((place) => place % 4 === 0) ? "aligned" : "any");

function matmulConstants({ activation, bias, softCap, combine, turned }: MatmulOptions): Constants {
  const constants: Record<string, number> = {};
  if (activation) constants.ACTIVATION = ACTIVATION_CODE[activation];
  if (bias) constants.HAS_BIAS = 1;
  if (softCap) constants.HAS_SOFT_CAP = 1;
  if (combine) constants.COMBINE = COMBINE_CODE[combine];
  if (turned) constants.TURNED = 1;
  return constants;
}

/** The rows as the kernel reads them: where they lie, or packed into a temporary. */
function rowOperand(
  recorder: Recorder,
  x: BufferSlice,
  rows: number,
  width: number,
  kernel: MatmulKernel,
  { rowStart = 0, rowStride = width }: MatmulOptions,
): { packed?: Tensor; rowStart: number; rowStride: number } {
  if (!kernel.packed) return { rowStart, rowStride };
  const rowCount4 = Math.ceil(rows / 4);
  const width4 = Math.ceil(width / 4);
  const packed = recorder.temp(4 * width4, 4 * rowCount4);
  recorder.dispatch(kernels.PACK_ROWS[rowsAt(width, rowStart, rowStride)], {
    params: { rowCount: rows, width, rowStart, rowStride },
    buffers: { rows: x, packed },
    workgroups: [Math.ceil(width4 / 8), Math.ceil(rowCount4 / 8)],
  });
  return { packed, rowStart: 0, rowStride: rowCount4 };
}

export interface EmbedOptions {
  /** Column of the row table that holds the index. */
  by: "token" | "position";
  indexOffset?: number;
  scale?: number;
  /** Token ids [rows] in place of those in the row table: what the last step of decoding chose. */
  tokens?: Tensor | undefined;
  /** A second table, in f32, whose row for the position plus an offset is added. */
  positions?: { table: Matrix; offset: number } | undefined;
}

/** out[r] = scale * table[index of row r] (+ positions[position of row r]); out [rows, width]. */
export function embed(
  recorder: Recorder,
  rowTable: Tensor,
  rows: number,
  table: Matrix,
  out: BufferSlice,
  { by, indexOffset = 0, scale = 1, tokens, positions }: EmbedOptions,
): void {
  const step = table.width % 4 === 0 ? 4 : 1;
  const indices = tokens ? { indexStart: 0, indexStride: 1 } : { indexStart: by === "token" ? 3 : 1, indexStride: 4 };
  for (const part of table.parts) {
    recorder.dispatch(kernels.EMBED[table.storage][step === 4 ? "four" : "one"], {
      params: {
        rowCount: rows,
        width: table.width / step,
        tableStride: table.stride / step,
        firstRow: part.firstRow,
        tableRows: part.rows,
        ...indices,
        indexOffset,
        positionOffset: positions?.offset ?? 0,
        positionStride: (positions?.table.stride ?? 0) / step,
        scale,
      },
      buffers: {
        indices: tokens ?? rowTable,
        weights: part,
        out,
        rowTable,
        positions: positions?.table.parts[0] ?? recorder.gpu.zeros,
      },
      workgroups: elementGrid(recorder, (rows * table.width) / step),
      constants: positions ? { HAS_POSITIONS: 1 } : {},
      work: { weightBytes: (rows * table.width * ELEMENT_BYTES[table.storage]) / table.parts.length },
    });
  }
}

/** out[i] (+ or *)= x[i] * scale; `count` elements. */
export function combine(
  recorder: Recorder,
  x: BufferSlice,
  out: BufferSlice,
  count: number,
  how: keyof typeof COMBINE_CODE,
  scale = 1,
): void {
  const step = count % 4 === 0 ? 4 : 1;
  recorder.dispatch(step === 4 ? kernels.COMBINE.four : kernels.COMBINE.one, {
    params: { count: count / step, scale },
    buffers: { x, out },
    workgroups: elementGrid(recorder, count / step),
    constants: { COMBINE: COMBINE_CODE[how] },
  });
}

/** Copies rows: for each pair (source row, target row) in `list` [entries, 2], the vectors of a row of the target. */
export function gather(recorder: Recorder, source: View, target: View, list: Tensor): void {
  const entries = list.length / 2;
  const { heads, width } = target;
  const lengths = {
    width,
    sourceStart: source.start,
    sourceRowStride: source.rowStride,
    sourceHeadStride: source.headStride,
    targetStart: target.start,
    targetRowStride: target.rowStride,
    targetHeadStride: target.headStride,
  };
  const step = Object.values(lengths).every((length) => length % 4 === 0) ? 4 : 1;
  const inSteps = Object.fromEntries(Object.entries(lengths).map(([name, length]) => [name, length / step]));
  recorder.dispatch(step === 4 ? kernels.GATHER.four : kernels.GATHER.one, {
    params: { entries, heads, ...(inSteps as typeof lengths) },
    buffers: { list, x: source.buffer, out: target.buffer },
    workgroups: elementGrid(recorder, (entries * heads * width) / step),
  });
}

/** out[0 .. count] = x[0 .. count]. */
export function copyRows(recorder: Recorder, x: BufferSlice, out: BufferSlice, count: number): void {
  combine(recorder, x, out, count, "replace");
}

/** Each head's own part of attention's output: out [rows, nHeads, dModel] = W_O[head] z[row, head]. */
export function projectHeads(
  recorder: Recorder,
  z: BufferSlice,
  rows: number,
  W_O: Matrix,
  nHeads: number,
  out: BufferSlice,
): void {
  const dModel = W_O.outWidth;
  const dHead = W_O.width / nHeads;
  for (let head = 0; head < nHeads; head++) {
    matmul(recorder, z, rows, W_O, out, {
      rowStart: head * dHead,
      rowStride: nHeads * dHead,
      width: dHead,
      weightColumn: head * dHead,
      outStart: head * dModel,
      outStride: nHeads * dModel,
    });
  }
}

/** Some rows of a matrix, and the head that they belong to. */
interface HeadRows {
  readonly head: number;
  /** With one part, which has these rows alone. */
  readonly matrix: Matrix;
  /** Where they begin: in the whole matrix, in the part's memory, and among the head's rows. */
  readonly first: number;
  readonly weightRow: number;
  readonly place: number;
}

/** The rows of W from `firstRow` on as heads of `dHead` rows each; a head whose rows lie in two parts is there twice. */
function headRows(W: Matrix, firstRow: number, heads: number, dHead: number): HeadRows[] {
  return Array.from({ length: heads }, (_, head) => {
    const start = firstRow + head * dHead;
    return W.parts.flatMap((part) => {
      const first = Math.max(start, part.firstRow);
      const rows = Math.min(start + dHead, part.firstRow + part.rows) - first;
      if (rows <= 0) return [];
      const matrix = { ...W, parts: [{ ...part, firstRow: first, rows }] };
      return [{ head, matrix, first, weightRow: first - part.firstRow, place: first - start }];
    });
  }).flat();
}

/** Each head of its own input: out[r, head] = W[head's rows] x[r, head] + bias[head's rows]; the first head's rows of W begin at `firstRow`. */
export function projectHeadInputs(
  recorder: Recorder,
  x: View,
  rows: number,
  W: Matrix,
  firstRow: number,
  bias: Tensor | undefined,
  out: View,
): void {
  for (const { head, matrix, first, weightRow, place } of headRows(W, firstRow, out.heads, out.width)) {
    matmul(recorder, x.buffer, rows, matrix, out.buffer, {
      bias,
      weightRow,
      rowStart: x.start + head * x.headStride,
      rowStride: x.rowStride,
      // Counted from the first row of W, as the part counts it.
      outStart: out.start + head * out.headStride + place - first,
      outStride: out.rowStride,
    });
  }
}

/** out[r] = sum over heads of result[r, head] + bias; result [rows, nHeads, width], out [rows, width]. */
export function sumHeads(
  recorder: Recorder,
  result: BufferSlice,
  rows: number,
  nHeads: number,
  width: number,
  bias: Tensor | undefined,
  out: BufferSlice,
): void {
  recorder.dispatch(kernels.SUM_HEADS, {
    params: { rowCount: rows, nHeads, width, scale: 1 },
    buffers: { result, bias: bias ?? recorder.gpu.zeros, out },
    workgroups: elementGrid(recorder, rows * width),
    constants: bias ? { HAS_BIAS: 1 } : {},
  });
}
