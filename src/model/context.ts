/** What the parts of a pass hand each other, and how they offer points. */
import type { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import type { RowTable } from "../ops/rows.ts";
import type { Pass } from "./forward.ts";
import type { ModelSpec } from "./spec.ts";
import type { ActivationView, Taps } from "./taps.ts";

export interface PassContext {
  recorder: Recorder;
  spec: ModelSpec;
  pass: Pass;
  taps: Taps;
  /** Rows present, their table on the host and on the GPU. */
  rows: RowTable;
  rowTable: Tensor;
}

export interface BlockContext extends PassContext {
  layer: number;
}

/** A point without heads over a whole [rows, width] tensor. */
export function rowsView(tensor: Tensor, width: number, start = 0, rowStride = width): ActivationView {
  return { buffer: tensor, start, rowStride, heads: 1, headStride: 0, width };
}

/** Offers a point if anybody wants it. */
export function offer(context: PassContext, point: string, view: () => ActivationView): void {
  if (context.taps.wants(point)) context.taps.visit(context.recorder, point, view(), context.rows);
}
