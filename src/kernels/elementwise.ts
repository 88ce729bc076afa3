/** Operations on single elements: functions in place, copies and chosen rows. */
import type { Recorder } from "../gpu/recorder.ts";
import { ACTIVATION_CODE, type Activation, copyRows, gather } from "./calls.ts";
import { ELEMENTWISE, GATE, GATE_GRADIENT, SLOPE } from "./definitions.ts";
import { elementGrid } from "./launch.ts";
import { isPacked, packedView, type View } from "./view.ts";

/** x = cap(act(x * scale)), or with `slope` the derivative of the one or the other, in place; x packed [rows, heads, width]. */
export function elementwise(
  recorder: Recorder,
  x: View,
  rows: number,
  {
    scale = 1,
    activation,
    softCap,
    slope,
  }: { scale?: number; activation?: Activation; softCap?: number; slope?: boolean },
): void {
  const count = rows * x.heads * x.width;
  const constants = {
    ...(activation && { ACTIVATION: ACTIVATION_CODE[activation] }),
    ...(softCap !== undefined && { HAS_SOFT_CAP: 1 }),
  };
  if (slope) {
    recorder.dispatch(SLOPE, {
      params: { count, start: x.start, softCap: softCap ?? 0 },
      buffers: { x: x.buffer },
      workgroups: elementGrid(recorder, count),
      constants,
    });
    return;
  }
  recorder.dispatch(ELEMENTWISE, {
    params: { count, start: x.start, scale, softCap: softCap ?? 0 },
    buffers: { x: x.buffer },
    workgroups: elementGrid(recorder, count),
    constants,
  });
}

/** out = act(gate) * x; all packed, as many. */
export function gated(recorder: Recorder, activation: Activation, gate: View, x: View, out: View, rows: number): void {
  const count = rows * out.heads * out.width;
  recorder.dispatch(GATE, {
    params: { count },
    buffers: { gate: gate.buffer, x: x.buffer, out: out.buffer },
    workgroups: elementGrid(recorder, count),
    constants: { ACTIVATION: ACTIVATION_CODE[activation] },
  });
}

/** The gradients of `gate` and `x` in their place, given that of `gated`. */
export function gatedGradient(
  recorder: Recorder,
  activation: Activation,
  gate: View,
  x: View,
  dy: View,
  rows: number,
): void {
  const count = rows * dy.heads * dy.width;
  recorder.dispatch(GATE_GRADIENT, {
    params: { count },
    buffers: { dy: dy.buffer, gate: gate.buffer, x: x.buffer },
    workgroups: elementGrid(recorder, count),
    constants: { ACTIVATION: ACTIVATION_CODE[activation] },
  });
}

/** out = x, row by row. */
export function copy(recorder: Recorder, x: View, out: View, rows: number): void {
  if (isPacked(x) && isPacked(out) && x.start === 0 && out.start === 0) {
    copyRows(recorder, x.buffer, out.buffer, rows * x.heads * x.width);
    return;
  }
  selectRows(
    recorder,
    x,
    Array.from({ length: rows }, (_, row) => row),
    out,
  );
}

/** out[i] = x[keep[i]]. */
export function selectRows(recorder: Recorder, x: View, keep: readonly number[], out: View): void {
  moveRows(recorder, x, out, Uint32Array.from(keep.flatMap((row, index) => [row, index])));
}

/** out[keep[i]] = x[i]. */
export function putRows(recorder: Recorder, x: View, keep: readonly number[], out: View): void {
  moveRows(recorder, x, out, Uint32Array.from(keep.flatMap((row, index) => [index, row])));
}

/** out[row] = 0 for each of the rows. */
export function zeroRows(recorder: Recorder, rows: readonly number[], out: View): void {
  const zeros = packedView(recorder.upload(new Float32Array(out.width)), out.width);
  // One vector of zeros is read for every row and head.
  const source = { ...zeros, rowStride: 0, heads: out.heads, headStride: 0 };
  if (rows.length > 0)
    gather(recorder, source, out, recorder.upload(Uint32Array.from(rows.flatMap((row) => [0, row]))));
}

/** Copies the vectors of rows, for each pair (row of x, row of out) of the list. */
function moveRows(recorder: Recorder, x: View, out: View, pairs: Uint32Array): void {
  if (pairs.length === 0) return;
  const list = recorder.upload(pairs);
  const asOne = (view: View) => packedView(view.buffer, view.heads * view.width, 1, view.start);
  if (isPacked(x) && isPacked(out)) gather(recorder, asOne(x), asOne(out), list);
  else gather(recorder, x, out, list);
}
