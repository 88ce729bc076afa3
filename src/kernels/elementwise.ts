/** Operations on single elements: functions in place, copies and chosen rows. */
import type { Recorder } from "../gpu/recorder.ts";
import { ACTIVATION_CODE, type Activation, copyRows, gather } from "./calls.ts";
import { ELEMENTWISE } from "./definitions.ts";
import { elementGrid } from "./launch.ts";
import { isPacked, packedView, type View } from "./view.ts";

/** x = cap(act(x * scale)), in place; x packed [rows, heads, width]. */
export function elementwise(
  recorder: Recorder,
  x: View,
  rows: number,
  { scale = 1, activation, softCap }: { scale?: number; activation?: Activation; softCap?: number },
): void {
  const count = rows * x.heads * x.width;
  recorder.dispatch(ELEMENTWISE, {
    params: { count, start: x.start, scale, softCap: softCap ?? 0 },
    buffers: [x.buffer],
    workgroups: elementGrid(recorder, count),
    constants: {
      ...(activation && { ACTIVATION: ACTIVATION_CODE[activation] }),
      ...(softCap !== undefined && { HAS_SOFT_CAP: 1 }),
    },
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
  const list = recorder.upload(Uint32Array.from(keep.flatMap((row, index) => [row, index])));
  const asOne = (view: View) => packedView(view.buffer, view.heads * view.width, 1, view.start);
  if (isPacked(x) && isPacked(out)) gather(recorder, asOne(x), asOne(out), list);
  else gather(recorder, x, out, list);
}
