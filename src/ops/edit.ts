/** A change of an activation, in place: an edit that was checked, at the vectors that the pass computes. */
import editSource from "../../shaders/edit.wgsl";
import expressionSource from "../../shaders/edit_expression.wgsl";
import editShared from "../../shaders/edit_shared.wgsl";
import projectOutSource from "../../shaders/project_out.wgsl";
import reduceSource from "../../shaders/reduce.wgsl";
import { HookError } from "../errors.ts";
import { defineKernel, type Kernel } from "../gpu/kernel.ts";
import { MOST_TRANSIENT } from "../gpu/pipelines.ts";
import { RecentMap } from "../gpu/recent.ts";
import { foldGrid } from "../gpu/recorder.ts";
import { Tensor } from "../gpu/tensor.ts";
import { elementGrid } from "../kernels/calls.ts";
import type { View } from "../kernels/view.ts";
import { defineOp } from "./op.ts";
import type { RowTable } from "./rows.ts";

/** What an op of an edit is: a row of the table below. */
interface EditOpKind {
  /** Its case in `shaders/edit.wgsl`; none: it has a kernel of its own. */
  readonly code: number | undefined;
  /** Whether it reads the value v; `expression`: where its expression does. */
  readonly value: "needed" | "none" | "expression";
  /** Whether it reads alpha; 1 where it may be left out. */
  readonly alpha: "needed" | "optional" | "none";
}

/** Every op of an edit; `EditOp` documents them. */
export const EDIT_OPS = {
  set: { code: 0, value: "needed", alpha: "none" },
  add: { code: 1, value: "needed", alpha: "optional" },
  scale: { code: 2, value: "needed", alpha: "none" },
  zero: { code: 3, value: "none", alpha: "none" },
  lerp: { code: 4, value: "needed", alpha: "needed" },
  project_out: { code: undefined, value: "needed", alpha: "none" },
  wgsl: { code: 5, value: "expression", alpha: "none" },
} as const satisfies Record<string, EditOpKind>;

/**
 * - `set`: x = v; `add`: x + alpha v (alpha 1 unless given); `scale`: x * v; `zero`: 0; `lerp`: x + alpha (v - x);
 * - `project_out`: x - v (x·v) / (v·v), over the selected dimensions of each vector;
 * - `wgsl`: `expression` in x, v, b (row), p (position), h (head), d (dimension), as WGSL f32 and u32.
 */
export type EditOp = keyof typeof EDIT_OPS;

/** The row of an op in the table. */
export const editOp = (op: EditOp): EditOpKind => EDIT_OPS[op];

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
}

const PARAMS = {
  targetCount: "u32",
  dimCount: "u32",
  valueStride: "u32",
  start: "u32",
  rowStride: "u32",
  headStride: "u32",
} as const;

const BINDINGS = ["read", "read", "read", "write"] as const;

const PROJECT_OUT = defineKernel({
  name: "project out",
  sources: [reduceSource, editShared, projectOutSource],
  bindings: BINDINGS,
  params: PARAMS,
});

type EditKernel = Kernel<keyof typeof PARAMS>;

function editKernelWith(expression: string, name: string, transient: boolean): EditKernel {
  const sources = [expressionSource.replace("EXPRESSION;", () => `${expression};`), editShared, editSource];
  return defineKernel({ name, sources, bindings: BINDINGS, params: PARAMS, transient });
}

const PLAIN_EDIT = editKernelWith("x", "edit", false);

/** Of the expressions used last: a sweep may have any number of them. */
const editKernels = new RecentMap<string, EditKernel>(MOST_TRANSIENT);

function editKernel(expression?: string): EditKernel {
  if (expression === undefined) return PLAIN_EDIT;
  let kernel = editKernels.get(expression);
  if (!kernel) {
    kernel = editKernelWith(expression, `edit with ${expression}`, true);
    editKernels.set(expression, kernel);
  }
  return kernel;
}

export const EDIT = defineOp<{ index: number }>({
  name: "edit",
  formula: "op(x, v)",
  shapes: ([x]) => [{ heads: x?.heads ?? 1, width: x?.width ?? 0 }],
  inPlace: () => [0],
  lower({ recorder, attributes: { index }, outputs, rows, bindings }) {
    const { gpu } = recorder;
    const edit = bindings.hooks?.edits[index] as EditCall;
    const view = outputs[0] as View;
    const targets = packTargets(edit.targets, rows);
    const targetCount = targets.length / TARGET_FIELDS;
    if (targetCount === 0) return;
    if (edit.values instanceof Tensor && edit.values.gpu !== gpu) {
      throw new HookError(
        "hook/other-device",
        `Edit of ${edit.at}: its value lies on another GPU device. Load both models with the same gpu.`,
      );
    }
    const { code } = editOp(edit.op);
    const dimCount = edit.dims?.length ?? edit.width;
    recorder.dispatch(code === undefined ? PROJECT_OUT : editKernel(edit.expression), {
      params: {
        targetCount,
        dimCount,
        valueStride: edit.valueStride,
        start: view.start,
        rowStride: view.rowStride,
        headStride: view.headStride,
      },
      buffers: [
        recorder.upload(targets),
        edit.dims ? recorder.upload(Uint32Array.from(edit.dims)) : gpu.zeros,
        edit.values instanceof Tensor ? edit.values : recorder.upload(edit.values),
        view.buffer,
      ],
      workgroups: code === undefined ? foldGrid(gpu, targetCount) : elementGrid(recorder, targetCount * dimCount),
      constants: {
        ...(code !== undefined && { OP: code }),
        LISTED_DIMS: edit.dims ? 1 : 0,
        BY_COORDINATE: edit.byCoordinate ? 1 : 0,
      },
    });
  },
});

/** The `Target` structs of shaders/edit.wgsl: row, head, valueStart, alpha, sequence, position, firstDim, endDim. */
const TARGET_FIELDS = 8;

/** The targets whose rows are present. */
function packTargets(targets: readonly EditTarget[], rows: RowTable): Uint32Array {
  const packed = new Uint32Array(TARGET_FIELDS * targets.length);
  const floats = new Float32Array(packed.buffer);
  let count = 0;
  for (const { row: batchRow, sequence, position, head, valueStart, alpha, firstDim, endDim } of targets) {
    const row = rows.indexOf(sequence, position);
    if (row < 0) continue;
    const at = TARGET_FIELDS * count++;
    packed.set([row, head, valueStart, 0, batchRow, position, firstDim, endDim], at);
    floats[at + 3] = alpha;
  }
  return packed.subarray(0, TARGET_FIELDS * count);
}
