/** What an edit says once it is checked: the table of ops, and where an op changes what. */
import type { Tensor } from "../gpu/tensor.ts";

/** What an op of an edit is: a row of the table below. */
interface EditOpKind {
  /** Its case in `shaders/edit.wgsl`; none: it has a kernel of its own. */
  readonly code: number | undefined;
  /** Whether it reads the value v; `expression`: where its expression does. */
  readonly value: "needed" | "none" | "expression";
  /** Whether it reads alpha; 1 where it may be left out. */
  readonly alpha: "needed" | "optional" | "none";
  /** The gradient of x, given that of the result: nothing of it, all, as much as x itself counts, or no formula. */
  readonly gradient: "zero" | "same" | "scaled" | "unknown";
}

/** Every op of an edit; `EditOp` documents them. */
export const EDIT_OPS = {
  set: { code: 0, value: "needed", alpha: "none", gradient: "zero" },
  add: { code: 1, value: "needed", alpha: "optional", gradient: "same" },
  scale: { code: 2, value: "needed", alpha: "none", gradient: "scaled" },
  zero: { code: 3, value: "none", alpha: "none", gradient: "zero" },
  lerp: { code: 4, value: "needed", alpha: "needed", gradient: "scaled" },
  project_out: { code: undefined, value: "needed", alpha: "none", gradient: "scaled" },
  wgsl: { code: 5, value: "expression", alpha: "none", gradient: "unknown" },
} as const satisfies Record<string, EditOpKind>;

/**
 * - `set`: x = v; `add`: x + alpha v (alpha 1 unless given); `scale`: x * v; `zero`: 0; `lerp`: x + alpha (v - x);
 * - `project_out`: x - v (x·v) / (v·v), over the selected dimensions of each vector;
 * - `wgsl`: `expression` in x, v, b (batch entry), p (position), h (head), d (dimension), as WGSL f32 and u32.
 */
export type EditOp = keyof typeof EDIT_OPS;

/** The row of an op in the table. */
export const editOp = (op: EditOp): EditOpKind => EDIT_OPS[op];

/** Whether a text can stand where a kernel returns an expression: no statement, block or attribute. */
export const isOneExpression = (text: string): boolean => /^[^;{}@]+$/.test(text);

/** One vector to change. */
export interface EditTarget {
  /** Row of the batch as the edit's writer counts it: `b` of expressions. A sweep's cells all count from 0. */
  row: number;
  sequence: number;
  position: number;
  head: number;
  /** Where the vector's values start in the value array. */
  valueStart: number;
  alpha: number;
  /** Dimensions `firstDim` .. `endDim` are there; the others are keys that the query cannot see. */
  firstDim: number;
  endDim: number;
}

/** An edit of one point, ready to be recorded. */
export interface EditCall {
  /** The point's name, for messages. */
  readonly at: string;
  readonly op: EditOp;
  readonly expression: string | undefined;
  readonly targets: readonly EditTarget[];
  /** The selected dimensions, or undefined for all `width`. */
  readonly dims: readonly number[] | undefined;
  readonly width: number;
  readonly values: Tensor | Float32Array;
  readonly valueStride: 0 | 1;
  /** Values are indexed by dimension rather than by place in `dims`. */
  readonly byCoordinate: boolean;
  /** The point has no heads, and heads of targets are those that have a copy of it; `h` of expressions is 0. */
  readonly ofCopies?: boolean;
}

/** The edit, of vectors without heads, as it is made at every head of copies of them. */
export function atEveryHead<E extends EditCall>(edit: E, heads: number): E {
  const targets = edit.targets.flatMap((target) => Array.from({ length: heads }, (_, head) => ({ ...target, head })));
  return { ...edit, targets, ofCopies: true };
}

/**
 * The edit that takes the gradient of an edited activation to that of what it was before; undefined where they are the same.
 * All ops but `wgsl` are linear in x: `set` and `zero` cut, `add` changes nothing, the others multiply by what x counts.
 */
export function gradientEdit(edit: EditCall): EditCall | undefined {
  const { gradient } = editOp(edit.op);
  if (gradient === "same") return undefined;
  if (gradient === "zero") return { ...edit, op: "zero" };
  if (edit.op !== "lerp") return edit;
  const targets = edit.targets.map((target, index) => ({ ...target, valueStart: index }));
  const values = Float32Array.from(edit.targets, ({ alpha }) => 1 - alpha);
  return { ...edit, op: "scale", targets, values, valueStride: 0 };
}
