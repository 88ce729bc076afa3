/** Operations on queries, keys and values, in place, between their projection and attention. */
import type { BufferSlice, Recorder } from "../gpu/recorder.ts";
import { foldGrid } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { QK_NORM, ROPE_STORE, STORE_KV } from "./definitions.ts";
import { elementGrid, reduceConstants } from "./launch.ts";
import type { NormWeights } from "./matrix.ts";
import type { NormSpec } from "./norm.ts";
import type { View } from "./view.ts";

/** Norm of each head, or of all heads of a row together (`full`); weights [dHead], [heads, dHead] or [heads * dHead]. */
export function qkNorm(
  recorder: Recorder,
  x: View,
  rows: number,
  spec: NormSpec,
  { w, b }: NormWeights,
  over: "head" | "perHead" | "full",
): void {
  const groups = over === "full" ? 1 : x.heads;
  recorder.dispatch(QK_NORM, {
    params: {
      rowCount: rows,
      rowStride: x.rowStride,
      start: x.start,
      groups,
      width: over === "full" ? x.heads * x.width : x.width,
      weightStride: over === "perHead" ? x.width : 0,
      eps: spec.eps,
      weightOffset: spec.weightOffset,
    },
    buffers: { weights: w ?? recorder.gpu.zeros, bias: b ?? recorder.gpu.zeros, x: x.buffer },
    workgroups: foldGrid(recorder.gpu, rows * groups),
    constants: { SUBTRACT_MEAN: spec.kind === "layer" ? 1 : 0, HAS_BIAS: b ? 1 : 0, ...reduceConstants(recorder) },
  });
}

/** How a row turns: the row table says its position, `table` [position, rotaryDim / 2, (cos, sin)] the angles. */
export interface Rotation {
  readonly rowTable: Tensor;
  readonly table: Tensor;
  readonly rotaryDim: number;
  readonly style: "half" | "interleaved";
  /** Turns back. */
  readonly inverse: boolean;
}

export interface CacheBuffers {
  readonly keys: BufferSlice;
  readonly values: BufferSlice;
}

/** Rotates every head of x in place; the cache is bound and not touched. */
export function rope(recorder: Recorder, x: View, rows: number, rotation: Rotation, cache: CacheBuffers): void {
  dispatchRope(recorder, x, { nHeads: x.heads, nKvHeads: 0, store: false }, rows, rotation, cache);
}

/** q, k and v side by side: rotates q and k in place, and stores k and v. */
export function ropeStore(
  recorder: Recorder,
  q: View,
  nKvHeads: number,
  rows: number,
  rotation: Rotation,
  cache: CacheBuffers,
): void {
  dispatchRope(recorder, q, { nHeads: q.heads, nKvHeads, store: true }, rows, rotation, cache);
}

function dispatchRope(
  recorder: Recorder,
  { buffer, start, rowStride, width }: View,
  { nHeads, nKvHeads, store }: { nHeads: number; nKvHeads: number; store: boolean },
  rows: number,
  { rowTable, table, rotaryDim, style, inverse }: Rotation,
  { keys, values }: CacheBuffers,
): void {
  // Four pairs at a time where halves, which rotate or pass, are of whole vec4.
  const isInFours = style === "half" && [width / 2, rotaryDim / 2, start, rowStride].every((each) => each % 4 === 0);
  const step = isInFours ? 4 : 1;
  const lengths = {
    dHead: width / step,
    rotaryDim: rotaryDim / step,
    start: start / step,
    rowStride: rowStride / step,
  };
  recorder.dispatch(isInFours ? ROPE_STORE.four : ROPE_STORE.one, {
    params: { rowCount: rows, nHeads, nKvHeads, ...lengths },
    buffers: { rowTable, ropeTable: table, qkv: buffer, keys, values },
    workgroups: elementGrid(recorder, (rows * (nHeads + 2 * nKvHeads) * width) / 2 / step),
    constants: {
      STORE: store ? 1 : 0,
      ...(style === "interleaved" && { INTERLEAVED: 1 }),
      ...(inverse && { INVERSE: 1 }),
    },
  });
}

/** Writes k and v to their rows' slots. */
export function storeKv(
  recorder: Recorder,
  rowTable: Tensor,
  rows: number,
  k: View,
  v: View,
  { keys, values }: CacheBuffers,
): void {
  const width = k.heads * k.width;
  recorder.dispatch(STORE_KV, {
    params: {
      rowCount: rows,
      width,
      keyStart: k.start,
      keyStride: k.rowStride,
      valueStart: v.start,
      valueStride: v.rowStride,
    },
    buffers: { rowTable, k: k.buffer, v: v.buffer, keys, values },
    workgroups: elementGrid(recorder, (rows * width) / 4),
  });
}
