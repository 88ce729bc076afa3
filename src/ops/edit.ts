/** A change of an activation, in place: an edit that was checked, at the vectors that the pass computes. */
import editSource from "../../shaders/edit.wgsl";
import expressionSource from "../../shaders/edit_expression.wgsl";
import editShared from "../../shaders/edit_shared.wgsl";
import projectOutSource from "../../shaders/project_out.wgsl";
import reduceSource from "../../shaders/reduce.wgsl";
import { HookError } from "../errors.ts";
import { defineKernel, type Kernel, u32 } from "../gpu/kernel.ts";
import { MOST_TRANSIENT } from "../gpu/pipelines.ts";
import { RecentMap } from "../gpu/recent.ts";
import { foldGrid } from "../gpu/recorder.ts";
import { Tensor } from "../gpu/tensor.ts";
import { elementGrid } from "../kernels/launch.ts";
import type { View } from "../kernels/view.ts";
import { atEveryHead, type EditCall, type EditTarget, editOp, gradientEdit } from "./edit-call.ts";
import { editedRows, type ReferenceEdit } from "./edit-reference.ts";
import { defineOp, type OpKind, sameShape, type Value } from "./op.ts";
import type { RowTable } from "./rows.ts";

const PARAMS = u32("targetCount", "dimCount", "valueStride", "start", "rowStride", "headStride");

const BINDINGS = { targets: "read", dims: "read", values: "read", x: "write" } as const;

const PROJECT_OUT = defineKernel({
  name: "project out",
  sources: [reduceSource, editShared, projectOutSource],
  bindings: BINDINGS,
  params: PARAMS,
});

type EditKernel = Kernel<keyof typeof PARAMS, keyof typeof BINDINGS>;

function editKernelWith(expression: string, name: string, transient: boolean): EditKernel {
  const sources = [expressionSource.replace("EXPRESSION;", () => `${expression};`), editShared, editSource];
  return defineKernel({
    name,
    sources,
    bindings: BINDINGS,
    params: PARAMS,
    transient,
    ...(transient && { hint: HINT }),
  });
}

const HINT = "An edit's expression reads x, v (f32), b, p, h, d (u32) and WGSL's own functions, and is an f32.";

const PLAIN_EDIT = editKernelWith("x", "edit", false);

/** Of the expressions used last: a sweep may have any number of them. */
const editKernels = new RecentMap<string, EditKernel>(MOST_TRANSIENT);

function editKernel(expression?: string): EditKernel {
  if (expression === undefined) return PLAIN_EDIT;
  return editKernels.getOrMake(expression, () => editKernelWith(expression, `edit with ${expression}`, true));
}

export interface EditAttributes {
  readonly index: number;
  /** The edit is of a point without heads, and made at every head of copies. */
  readonly everyHead?: boolean;
  /** Takes the gradient of what was edited to that of what it was before. */
  readonly backward?: boolean;
}

/** The edit that an op makes; undefined where it changes nothing. */
function editOf<E extends EditCall>({ everyHead, backward }: EditAttributes, given: E, heads: number) {
  const edit = everyHead ? atEveryHead(given, heads) : given;
  return backward ? gradientEdit(edit) : edit;
}

export const EDIT: OpKind<EditAttributes> = defineOp<EditAttributes>({
  name: "edit",
  formula: "op(x, v)",
  shapes: sameShape,
  inPlace: () => [0],
  reference({ attributes, inputs: [x], inputShapes, rows, pass }) {
    const [shape] = inputShapes as [{ heads: number; width: number }];
    const edit = editOf(attributes, pass.edits?.[attributes.index] as ReferenceEdit, shape.heads);
    return [edit ? editedRows(x as Float64Array, shape, rows, edit) : (x as Float64Array)];
  },
  vjp: ({ op: { attributes }, grads, sink }) => [sink.one(EDIT, grads as [Value], { ...attributes, backward: true })],
  lower({ recorder, attributes, outputs, rows, bindings }) {
    const { gpu } = recorder;
    const view = outputs[0] as View;
    const edit = editOf(attributes, bindings.hooks?.edits[attributes.index] as EditCall, view.heads);
    if (!edit) return;
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
      buffers: {
        targets: recorder.upload(targets),
        dims: edit.dims ? recorder.upload(Uint32Array.from(edit.dims)) : gpu.zeros,
        values: edit.values instanceof Tensor ? edit.values : recorder.upload(edit.values),
        x: view.buffer,
      },
      workgroups: code === undefined ? foldGrid(gpu, targetCount) : elementGrid(recorder, targetCount * dimCount),
      constants: {
        ...(code !== undefined && { OP: code }),
        LISTED_DIMS: edit.dims ? 1 : 0,
        BY_COORDINATE: edit.byCoordinate ? 1 : 0,
        ...(edit.ofCopies && code !== undefined && { HAS_HEADS: 0 }),
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
