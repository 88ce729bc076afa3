/**
 * Where the forward pass lets others look and change.
 *
 * The pass offers every named point to a `Taps`; fused kernels are used only where no point inside them is wanted, which
 * is why `wants` exists. What to do at a point (capture, edit, callback) is not this folder's business.
 */
import type { BufferSlice, Recorder } from "../gpu/recorder.ts";
import type { RowTable } from "../ops/rows.ts";

/**
 * An activation as it lies in memory: row r, head h, dimension d is element
 * `start + r * rowStride + h * headStride + d`. Points without heads have one.
 */
export interface ActivationView {
  readonly buffer: BufferSlice;
  readonly start: number;
  readonly rowStride: number;
  readonly heads: number;
  readonly headStride: number;
  readonly width: number;
}

export interface Taps {
  /** Whether anything is to happen at the point. */
  wants(point: string): boolean;
  /** Records what is to happen there; may change the activation in place. `rows` names the rows that are present. */
  visit(recorder: Recorder, point: string, view: ActivationView, rows: RowTable): void;
}

/** Nobody looks. */
export const NO_TAPS: Taps = { wants: () => false, visit: () => undefined };
