/**
 * What each op of an edit computes, in plain TypeScript: the chosen dimensions x of one vector, given the value v and alpha.
 *
 * An edit changes vectors by themselves, so this and a list of them is all there is to it.
 */
import { Tensor } from "../gpu/tensor.ts";
import type { EditCall, EditOp, EditTarget } from "./edit-call.ts";
import type { RowTable } from "./rows.ts";

/** What a `wgsl` edit's expression computes. No one reads WGSL here, so who runs the reference gives it. */
export type EditFormula = (x: number, v: number, at: { b: number; p: number; h: number; d: number }) => number;

/** An edit whose values lie on the host. */
export interface ReferenceEdit extends EditCall {
  /** For `wgsl`. */
  readonly formula?: EditFormula | undefined;
}

type VectorEdit = (x: readonly number[], v: readonly number[], alpha: number) => number[];

const each =
  (apply: (x: number, v: number, alpha: number) => number): VectorEdit =>
  (x, v, alpha) =>
    x.map((value, i) => apply(value, v[i] as number, alpha));

const dot = (a: readonly number[], b: readonly number[]) =>
  a.reduce((sum, value, i) => sum + value * (b[i] as number), 0);

/** The definition of each op. */
export const EDIT_DEFINITIONS: Readonly<Record<Exclude<EditOp, "wgsl">, VectorEdit>> = {
  set: each((_, v) => v),
  add: each((x, v, alpha) => x + alpha * v),
  scale: each((x, v) => x * v),
  zero: each(() => 0),
  lerp: each((x, v, alpha) => x + alpha * (v - x)),
  project_out(x, v) {
    const square = dot(v, v);
    if (square === 0) return [...x];
    const share = dot(x, v) / square;
    return x.map((value, i) => value - (v[i] as number) * share);
  },
};

/** The rows of an activation, [row, head, width], after an edit. */
export function editedRows(
  x: Float64Array,
  { heads, width }: { heads: number; width: number },
  rows: RowTable,
  edit: ReferenceEdit,
): Float64Array {
  const out = Float64Array.from(x);
  for (const target of edit.targets) {
    const row = rows.indexOf(target.sequence, target.position);
    if (row < 0) continue;
    const start = (row * heads + target.head) * width;
    const { dims, values } = selected(edit, target);
    const vector = dims.map((d) => out[start + d] as number);
    const after =
      edit.op === "wgsl"
        ? byFormula(edit, target, dims, vector, values)
        : EDIT_DEFINITIONS[edit.op](vector, values, target.alpha);
    dims.forEach((d, i) => {
      out[start + d] = after[i] as number;
    });
  }
  return out;
}

/** The dimensions of a target that are there to be changed, and the value at each. */
function selected(
  { at, dims, width, values, valueStride, byCoordinate }: EditCall,
  { valueStart, firstDim, endDim }: EditTarget,
): { dims: number[]; values: number[] } {
  if (values instanceof Tensor) throw new TypeError(`Edit of ${at}: the reference needs its values on the host.`);
  const all = dims ?? Array.from({ length: width }, (_, d) => d);
  const present = all.flatMap((d, place) =>
    d >= firstDim && d < endDim ? [{ d, place: byCoordinate ? d : place }] : [],
  );
  return {
    dims: present.map(({ d }) => d),
    values: present.map(({ place }) => values[valueStart + valueStride * place] as number),
  };
}

function byFormula(
  { at, formula, ofCopies }: ReferenceEdit,
  { row, position, head }: EditTarget,
  dims: readonly number[],
  x: readonly number[],
  v: readonly number[],
): number[] {
  if (!formula) throw new TypeError(`Edit of ${at}: the reference needs its expression as a function.`);
  return x.map((value, i) =>
    formula(value, v[i] as number, { b: row, p: position, h: ofCopies ? 0 : head, d: dims[i] as number }),
  );
}
