/**
 * Gradients of projections and of weights. They are matmuls again, on the same kernels: the gradient of x is dy W, and W as
 * it lies is the transposed matrix in the other layout; that of W is dy^T x, for which dy's rows are read as columns, or written
 * as such for kernels that cannot, and x's rows are read as the weights of a conv1d.
 */
import tableGradientSource from "../../shaders/table_gradient.wgsl";
import transposeSource from "../../shaders/transpose_rows.wgsl";
import vectorGradientSource from "../../shaders/vector_gradient.wgsl";
import { defineKernel, f32, u32 } from "../gpu/kernel.ts";
import type { BufferSlice, Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { combine, type MatmulOptions, matmul } from "./calls.ts";
import { putRows } from "./elementwise.ts";
import { elementGrid } from "./launch.ts";
import { MATMUL_FAMILY } from "./matmul.ts";
import type { Matrix, MatrixPart } from "./matrix.ts";
import { rowBlocks } from "./row-blocks.ts";
import { isPacked, packedView, type View } from "./view.ts";

const TRANSPOSE = defineKernel({
  name: "transpose rows",
  sources: transposeSource,
  bindings: { x: "read", out: "write" },
  params: u32("rowCount", "rowCount4", "width", "start", "rowStride"),
});

const VECTOR_GRADIENT = defineKernel({
  name: "vector gradient",
  sources: vectorGradientSource,
  bindings: { dy: "read", x: "read", out: "write" },
  params: u32("count", "width"),
});

const TABLE_GRADIENT = defineKernel({
  name: "table gradient",
  sources: tableGradientSource,
  bindings: { entries: "read", rows: "read", dy: "read", out: "write" },
  params: { ...u32("entryCount", "width", "tableStride"), ...f32("scale") },
});

/** A part of W as a matrix that is W transposed. */
interface TransposedPart {
  readonly matrix: Matrix;
  /** The first column of x that it takes. */
  readonly column: number;
  /** Its columns that are meant: all, or `width` from `weightColumn` on. */
  readonly weightColumn?: number;
  readonly width?: number;
}

function transposedParts(W: Matrix): TransposedPart[] {
  const layout = W.layout === "linear" ? "conv1d" : "linear";
  return W.parts.map((part) => ({
    matrix: {
      ...W,
      layout,
      outWidth: W.width,
      width: W.layout === "linear" ? part.rows : W.outWidth,
      parts: [{ ...part, firstRow: 0, rows: W.width }],
    },
    column: W.layout === "linear" ? part.firstRow : 0,
  }));
}

/** out[r] (+ or *)= scale * x[r] W; x [rows, outWidth of W], out [rows, width of W]. */
export function matmulTransposed(
  recorder: Recorder,
  x: View,
  rows: number,
  W: Matrix,
  out: View,
  { scale, combine: how }: Pick<MatmulOptions, "scale" | "combine">,
): void {
  const copy = alignedCopy(recorder, x, rows, W.outWidth);
  if (copy) x = { ...packedView(copy, copy.shape[1] as number), width: x.width };
  const parts = transposedParts(W).flatMap((part) => (copy ? evenAndRest(part) : [part]));
  for (const { first, rows: count, slice, outStart } of rowBlocks(recorder.gpu, out, rows)) {
    // A sum of several products cannot be multiplied by before it is whole.
    const sum = parts.length > 1 && how === "multiply" ? recorder.temp(count, W.width) : undefined;
    parts.forEach(({ matrix, column, weightColumn, width }, index) => {
      matmul(recorder, x.buffer, count, matrix, sum ?? slice, {
        scale,
        weightColumn,
        width,
        combine: index > 0 ? "add" : sum ? undefined : how,
        rowStart: x.start + first * x.rowStride + column,
        rowStride: x.rowStride,
        outStart: sum ? 0 : outStart,
        outStride: sum ? W.width : out.rowStride,
      });
    });
    if (!sum) continue;
    combine(recorder, sum, slice, count * W.width, "multiply");
    recorder.release(sum);
  }
  if (copy) recorder.release(copy);
}

/** From so many rows on, a copy of them costs nothing beside the matmul. */
const WORTH_A_COPY = 33;

/**
 * Rows with a stride that is a multiple of four, where theirs is not. Kernels read others number by number: for the gradient of
 * GPT-2's 50257 logits, 128 rows, at 0.7 of the speed (SwiftShader).
 */
function alignedCopy(recorder: Recorder, x: View, rows: number, width: number): Tensor | undefined {
  const stride = 4 * Math.ceil(width / 4);
  const fits = 4 * rows * stride <= recorder.gpu.limits.maxStorageBufferBindingSize;
  if (rows < WORTH_A_COPY || (x.rowStride % 4 === 0 && x.start % 4 === 0) || !fits) return undefined;
  const copy = recorder.temp(rows, stride);
  const whole = Array.from({ length: rows }, (_, row) => row);
  putRows(recorder, packedAs(x, width), whole, { ...packedView(copy, width), rowStride: stride });
  return copy;
}

/** A part of a transposed matrix as the columns that come in fours, and the others. */
function evenAndRest(part: TransposedPart): TransposedPart[] {
  const { matrix, column } = part;
  const even = 4 * Math.floor(matrix.width / 4);
  if (even === 0 || even === matrix.width) return [part];
  return [
    { ...part, width: even },
    { matrix, column: column + even, weightColumn: even, width: matrix.width - even },
  ];
}

/** out[r, head] = result[r, head] W_O[head], the way back of `projectHeads`; result [rows, nHeads, dModel], out [rows, nHeads, dHead]. */
export function unprojectHeads(recorder: Recorder, result: View, rows: number, W_O: Matrix, out: View): void {
  for (let head = 0; head < out.heads; head++) {
    transposedParts(W_O).forEach(({ matrix, column }, index) => {
      const parts = [{ ...(matrix.parts[0] as MatrixPart), rows: out.width }];
      matmul(recorder, result.buffer, rows, { ...matrix, parts }, out.buffer, {
        weightRow: head * out.width,
        combine: index > 0 ? "add" : undefined,
        rowStart: result.start + head * result.headStride + column,
        rowStride: result.rowStride,
        outStart: out.start + head * out.headStride,
        outStride: out.rowStride,
      });
    });
  }
}

/** out[r, head] = dy[r, head] W[head's rows], the way back of `projectHeadInputs`; dy [rows, heads, dHead], out [rows, heads, width of W]. */
export function unprojectHeadInputs(
  recorder: Recorder,
  dy: View,
  rows: number,
  W: Matrix,
  firstRow: number,
  out: View,
): void {
  for (let head = 0; head < out.heads; head++) {
    const start = firstRow + head * dy.width;
    let isSum = false;
    for (const { matrix, column } of transposedParts(W)) {
      const first = Math.max(start, column);
      const width = Math.min(start + dy.width, column + matrix.width) - first;
      if (width <= 0) continue;
      matmul(recorder, dy.buffer, rows, matrix, out.buffer, {
        weightColumn: first - column,
        width,
        combine: isSum ? "add" : undefined,
        rowStart: dy.start + head * dy.headStride + first - start,
        rowStride: dy.rowStride,
        outStart: out.start + head * out.headStride,
        outStride: out.rowStride,
      });
      isSum = true;
    }
  }
}

/** Rows as columns: [width, 4 * ceil(rows / 4)], padded with zeros. */
function transposed(recorder: Recorder, { buffer, start, rowStride }: View, width: number, rows: number): Tensor {
  const rowCount4 = Math.ceil(rows / 4);
  const out = recorder.temp(width, 4 * rowCount4);
  recorder.dispatch(TRANSPOSE, {
    params: { rowCount: rows, rowCount4, width, start, rowStride },
    buffers: { x: buffer, out },
    workgroups: elementGrid(recorder, width * rowCount4),
  });
  return out;
}

/** Rows of x as a conv1d matrix [rows, width]; a copy where they do not lie as the kernels read weights. */
function asWeights(recorder: Recorder, x: View, width: number, rows: number): { matrix: Matrix; copy?: Tensor } {
  const matrix = (slice: BufferSlice, stride: number): Matrix => ({
    layout: "conv1d",
    storage: "f32",
    outWidth: width,
    width: rows,
    stride,
    parts: [{ ...slice, buffer: slice.buffer, firstRow: 0, rows: width }],
  });
  if (x.start === 0 && x.rowStride === width && width % 4 === 0) return { matrix: matrix(x.buffer, width) };
  const stride = 4 * Math.ceil(width / 4);
  const copy = recorder.temp(rows, stride);
  const whole = Array.from({ length: rows }, (_, row) => row);
  putRows(recorder, packedAs(x, width), whole, { ...packedView(copy, width), rowStride: stride });
  return { matrix: matrix({ buffer: copy.buffer }, stride), copy };
}

/** A view as one vector a row. */
function packedAs(x: View, width: number): View {
  return { ...x, heads: 1, headStride: width, width };
}

/** dW += dy^T x, in the layout of W; dy [rows, outWidth], x [rows, width]. */
export function addWeightGradient(recorder: Recorder, dy: View, x: View, rows: number, dW: Matrix): void {
  addOuter(recorder, dy, x, rows, dW, { row: 0, height: dW.outWidth, column: 0, width: dW.width });
}

/** The same for rows `row` to `row + height` and columns `column` to `column + width` of W. */
function addOuter(
  recorder: Recorder,
  dy: View,
  x: View,
  rows: number,
  dW: Matrix,
  { row, height, column, width }: { row: number; height: number; column: number; width: number },
): void {
  const isLinear = dW.layout === "linear";
  // Rows of dW in memory: those of W, or its columns.
  const [down, downWidth] = isLinear ? [dy, height] : [x, width];
  const [across, acrossWidth] = isLinear ? [x, width] : [dy, height];
  const { matrix, copy } = asWeights(recorder, across, acrossWidth, rows);
  const shapeOf = (count: number) => ({ rows: count, layout: matrix.layout, storage: matrix.storage });
  const kernel = MATMUL_FAMILY.choose(
    recorder,
    shapeOf(isLinear ? Math.min(height, (dW.parts[0] as MatrixPart).rows) : width),
  );
  const columns = kernel.readsTurned ? undefined : transposed(recorder, down, downWidth, rows);
  const rowStride = columns ? (columns.shape[1] as number) : down.rowStride;
  for (const part of dW.parts) {
    const first = isLinear ? Math.max(row, part.firstRow) : 0;
    const count = isLinear ? Math.min(row + height, part.firstRow + part.rows) - first : width;
    if (count <= 0) continue;
    const firstRow = isLinear ? first - row : 0;
    matmul(recorder, columns ?? down.buffer, count, matrix, part, {
      combine: "add",
      width: rows,
      kernel,
      turned: !columns,
      rowStart: columns ? firstRow * rowStride : down.start + firstRow,
      rowStride,
      outStart: isLinear ? (first - part.firstRow) * dW.stride + column : column * dW.stride + row,
      outStride: dW.stride,
    });
  }
  if (columns) recorder.release(columns);
  if (copy) recorder.release(copy);
}

/** dW_O[head] += result[head]^T z[head]; result [rows, nHeads, dModel], z [rows, nHeads, dHead]. */
export function addHeadWeightGradient(recorder: Recorder, result: View, z: View, rows: number, dW_O: Matrix): void {
  for (let head = 0; head < z.heads; head++) {
    const part = { row: 0, height: dW_O.outWidth, column: head * z.width, width: z.width };
    addOuter(recorder, ofHead(result, head), ofHead(z, head), rows, dW_O, part);
  }
}

/** dW[head's rows] += dy[head]^T x[head], for `projectHeadInputs`; dy [rows, heads, dHead], x [rows, heads, width of W]. */
export function addHeadInputGradient(
  recorder: Recorder,
  dy: View,
  x: View,
  rows: number,
  dW: Matrix,
  firstRow: number,
): void {
  for (let head = 0; head < dy.heads; head++) {
    const part = { row: firstRow + head * dy.width, height: dy.width, column: 0, width: dW.width };
    addOuter(recorder, ofHead(dy, head), ofHead(x, head), rows, dW, part);
  }
}

/** One head of a view. */
function ofHead(view: View, head: number): View {
  return { ...packedAs(view, view.width), start: view.start + head * view.headStride };
}

/** out += the sum over vectors of dy, or of dy times x; both [vectors, width]. */
export function addVectorGradient(
  recorder: Recorder,
  dy: View,
  x: View | undefined,
  vectors: number,
  width: number,
  out: BufferSlice,
): void {
  const [own, factor] = [dy, x].map(
    (view) => view && packed(recorder, view, (vectors * width) / (view.heads * view.width)),
  );
  recorder.dispatch(VECTOR_GRADIENT, {
    params: { count: vectors, width },
    buffers: { dy: (own as View).buffer, x: factor?.buffer ?? recorder.gpu.zeros, out },
    workgroups: elementGrid(recorder, width),
    constants: factor ? { HAS_FACTOR: 1 } : {},
  });
}

/** The view itself where it lies as one run of elements from the start of its buffer, or a copy that does. */
function packed(recorder: Recorder, x: View, rows: number): View {
  if (isPacked(x) && x.start === 0) return x;
  const out = packedView(recorder.temp(rows, x.heads, x.width), x.width, x.heads);
  putRows(
    recorder,
    x,
    Array.from({ length: rows }, (_, row) => row),
    out,
  );
  return out;
}

/** dTable[indices[r]] += scale * dy[r]; dy [rows, width]. */
export function addTableGradient(
  recorder: Recorder,
  dy: View,
  indices: readonly number[],
  scale: number,
  dTable: Matrix,
): void {
  const rowsOf = new Map<number, number[]>();
  for (const [row, index] of indices.entries()) rowsOf.set(index, [...(rowsOf.get(index) ?? []), row]);
  for (const part of dTable.parts) {
    const own = [...rowsOf].filter(([index]) => index >= part.firstRow && index < part.firstRow + part.rows);
    if (own.length === 0) continue;
    let first = 0;
    const entries = own.flatMap(([index, rows]) => {
      first += rows.length;
      return [index - part.firstRow, first - rows.length, first, 0];
    });
    recorder.dispatch(TABLE_GRADIENT, {
      params: { entryCount: own.length, width: dTable.width, tableStride: dTable.stride, scale },
      buffers: {
        entries: recorder.upload(Uint32Array.from(entries)),
        rows: recorder.upload(Uint32Array.from(own.flatMap(([, rows]) => rows))),
        dy: dy.buffer,
        out: part,
      },
      workgroups: elementGrid(recorder, own.length * dTable.width),
    });
  }
}
