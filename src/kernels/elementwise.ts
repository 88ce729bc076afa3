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
  const step = count % 4 === 0 ? 4 : 1;
  recorder.dispatch(step === 4 ? GATE.four : GATE.one, {
    params: { count: count / step },
    buffers: { gate: gate.buffer, x: x.buffer, out: out.buffer },
    workgroups: elementGrid(recorder, count / step),
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
  const step = count % 4 === 0 ? 4 : 1;
  recorder.dispatch(step === 4 ? GATE_GRADIENT.four : GATE_GRADIENT.one, {
    params: { count: count / step },
    buffers: { dy: dy.buffer, gate: gate.buffer, x: x.buffer },
    workgroups: elementGrid(recorder, count / step),
    constants: { ACTIVATION: ACTIVATION_CODE[activation] },
  });
}

/** out = x, row by row. */
export function copy(recorder: Recorder, x: View, out: View, rows: number): void {
  if (isPacked(x) && isPacked(out) && x.start === 0 && out.start === 0) {
    copyRows(recorder, x.buffer, out.buffer, rows * x.heads * x.width);
    return;
  }
  moveRows(
    recorder,
    x,
    out,
    rowPairs(rows, (row) => [row, row]),
  );
}

/** out[i] = x[keep[i]]. */
export function selectRows(recorder: Recorder, x: View, keep: readonly number[], out: View): void {
  moveRows(
    recorder,
    x,
    out,
    rowPairs(keep.length, (index) => [keep[index] as number, index]),
  );
}

/** out[keep[i]] = x[i]. */
export function putRows(recorder: Recorder, x: View, keep: readonly number[], out: View): void {
  moveRows(
    recorder,
    x,
    out,
    rowPairs(keep.length, (index) => [index, keep[index] as number]),
  );
}

/** In place of a row of x: zeros, in gather.wgsl. */
const NO_ROW = 0xffffffff;

/** out[keep[i]] = x[i], and 0 in the other rows of `rows`. */
export function spreadRows(recorder: Recorder, x: View, keep: readonly number[], rows: number, out: View): void {
  const pairs = rowPairs(rows, (row) => [NO_ROW, row]);
  for (const [index, row] of keep.entries()) pairs[2 * row] = index;
  moveRows(recorder, x, out, pairs);
}

/** out[row] = 0 for rows 0 to `rows`. */
export function zeroRows(recorder: Recorder, rows: number, out: View): void {
  const zeros = packedView(recorder.gpu.zeros, out.width, out.heads);
  moveRows(
    recorder,
    zeros,
    out,
    rowPairs(rows, (row) => [NO_ROW, row]),
  );
}

/** Pairs of a row of x and one of out. */
function rowPairs(count: number, pairOf: (index: number) => readonly [number, number]): Uint32Array {
  const pairs = new Uint32Array(2 * count);
  for (let index = 0; index < count; index++) pairs.set(pairOf(index), 2 * index);
  return pairs;
}

/** Copies the vectors of rows, for each pair (row of x, row of out) of the list. */
function moveRows(recorder: Recorder, x: View, out: View, pairs: Uint32Array): void {
  if (pairs.length === 0) return;
  const list = recorder.upload(pairs);
  const asOne = (view: View) => packedView(view.buffer, view.heads * view.width, 1, view.start);
  if (isPacked(x) && isPacked(out)) gather(recorder, asOne(x), asOne(out), list);
  else gather(recorder, x, out, list);
}
