/**
 * What happens at the points of one pass: edits in order, then callbacks, then captures. A capture therefore shows the
 * activation as the rest of the model sees it.
 */
import editSource from "../../shaders/edit.wgsl";
import expressionSource from "../../shaders/edit_expression.wgsl";
import editShared from "../../shaders/edit_shared.wgsl";
import projectOutSource from "../../shaders/project_out.wgsl";
import reduceSource from "../../shaders/reduce.wgsl";
import { HookError } from "../errors.ts";
import type { Gpu } from "../gpu/gpu.ts";
import { defineKernel, type Kernel } from "../gpu/kernel.ts";
import { MOST_TRANSIENT } from "../gpu/pipelines.ts";
import { RecentMap } from "../gpu/recent.ts";
import { foldGrid, type Recorder } from "../gpu/recorder.ts";
import { Tensor } from "../gpu/tensor.ts";
import { elementGrid, gather } from "../kernels/calls.ts";
import type { ActivationView, Taps } from "../model/taps.ts";
import type { RowTable } from "../ops/rows.ts";
import * as s from "../schema/schema.ts";
import { type ActivationLayout, layoutOf } from "./activation-cache.ts";
import type { CompiledEdit, EditOp } from "./edit.ts";

const PARAMS = {
  targetCount: "u32",
  dimCount: "u32",
  valueStride: "u32",
  start: "u32",
  rowStride: "u32",
  headStride: "u32",
} as const;

const BINDINGS = ["read", "read", "read", "write"] as const;

/** Code of each op in `shaders/edit.wgsl`. */
const OP_CODE: Record<Exclude<EditOp, "project_out">, number> = { set: 0, add: 1, scale: 2, zero: 3, lerp: 4, wgsl: 5 };

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

const EDIT = editKernelWith("x", "edit", false);

/** Of the expressions written last: a sweep may have any number of them. */
const editKernels = new RecentMap<string, EditKernel>(MOST_TRANSIENT);

function editKernel(expression?: string): EditKernel {
  if (expression === undefined) return EDIT;
  let kernel = editKernels.get(expression);
  if (!kernel) {
    kernel = editKernelWith(expression, `edit with ${expression}`, true);
    editKernels.set(expression, kernel);
  }
  return kernel;
}

/** Where the captured rows of a point go. */
export interface CaptureTarget {
  name: string;
  tensor: Tensor;
}

/**
 * A JavaScript hook: gets the activation, shaped as a capture of it would be. It may change the array in place, or return
 * other numbers, as many; what it returns counts, or else what the array then holds.
 */
export type HookFunction = (
  activation: Float32Array,
  info: { name: string; shape: readonly number[] },
  // biome-ignore lint/suspicious/noConfusingVoidType: a function that returns nothing.
) => Promise<HookResult | void> | HookResult | void;

type HookResult = s.NumberList | undefined;

export interface Callback {
  name: string;
  shape: readonly number[];
  run: HookFunction;
}

export interface HookPlan {
  edits: readonly CompiledEdit[];
  captures: readonly CaptureTarget[];
  callbacks: readonly Callback[];
  /** For each sequence the captured positions, ascending. */
  positions: readonly (readonly number[])[];
  /** For each sequence every position of the pass, for callbacks. */
  allPositions: readonly (readonly number[])[];
}

/** Place along a captured position axis of each position, for each sequence. */
type Places = readonly ReadonlyMap<number, number>[];

/** One past the largest position a row key can hold. */
const POSITIONS = 2 ** 22;

export class HookTaps implements Taps {
  readonly #edits: Map<string, CompiledEdit[]>;
  readonly #captures: Map<string, CaptureTarget>;
  readonly #callbacks: Map<string, Callback[]>;
  readonly #places: Places;
  readonly #allPlaces: Places;
  #rowIndex = new WeakMap<RowTable, Map<number, number>>();
  #lists = new WeakMap<RowTable, Map<string, { pairs: Tensor; reversed: Tensor }>>();

  constructor(
    private readonly gpu: Gpu,
    plan: HookPlan,
  ) {
    this.#edits = groupBy(plan.edits, (edit) => edit.point.name);
    this.#callbacks = groupBy(plan.callbacks, (callback) => callback.name);
    this.#captures = new Map(plan.captures.map((capture) => [capture.name, capture]));
    this.#places = placesOf(plan.positions);
    this.#allPlaces = placesOf(plan.allPositions);
  }

  wants(point: string): boolean {
    return this.#edits.has(point) || this.#captures.has(point) || this.#callbacks.has(point);
  }

  visit(recorder: Recorder, point: string, view: ActivationView, rows: RowTable): void {
    for (const edit of this.#edits.get(point) ?? []) this.#recordEdit(recorder, edit, view, rows);
    for (const callback of this.#callbacks.get(point) ?? []) this.#recordCallback(recorder, callback, view, rows);
    const capture = this.#captures.get(point);
    if (capture) this.#recordCapture(recorder, capture, view, rows);
  }

  #recordEdit(recorder: Recorder, edit: CompiledEdit, view: ActivationView, rows: RowTable): void {
    const { gpu } = this;
    const index = this.#rowsOf(rows);
    const present = edit.targets.filter(({ sequence, position }) => index.has(sequence * POSITIONS + position));
    if (present.length === 0) return;
    const targets = packTargets(present, index);
    if (edit.values instanceof Tensor && edit.values.gpu !== gpu) {
      throw new HookError(
        "hook/other-device",
        `Edit of ${edit.point.name}: its value lies on another GPU device. Load both models with the same gpu.`,
      );
    }
    const values = edit.values instanceof Tensor ? edit.values : recorder.upload(edit.values);
    const projects = edit.op === "project_out";
    const dimCount = edit.dims?.length ?? edit.width;
    recorder.dispatch(projects ? PROJECT_OUT : editKernel(edit.expression), {
      params: {
        targetCount: present.length,
        dimCount,
        valueStride: edit.valueStride,
        start: view.start,
        rowStride: view.rowStride,
        headStride: view.headStride,
      },
      buffers: [
        recorder.upload(targets),
        edit.dims ? recorder.upload(Uint32Array.from(edit.dims)) : gpu.zeros,
        values,
        view.buffer,
      ],
      workgroups: projects ? foldGrid(gpu, present.length) : elementGrid(recorder, present.length * dimCount),
      constants: {
        ...(edit.op !== "project_out" && { OP: OP_CODE[edit.op] }),
        LISTED_DIMS: edit.dims ? 1 : 0,
        BY_COORDINATE: edit.byCoordinate ? 1 : 0,
      },
    });
  }

  #recordCapture(recorder: Recorder, { name, tensor }: CaptureTarget, view: ActivationView, rows: RowTable): void {
    const layout = layoutOf(name, tensor.shape);
    const lists = this.#rowLists(recorder, rows, layout, this.#places);
    if (lists) gather(recorder, view, { buffer: tensor, ...strides(layout) }, lists.pairs, layout.heads, layout.width);
  }

  /** The rows go to a temporary of the captured shape, to the host, and back. */
  #recordCallback(recorder: Recorder, { name, shape, run }: Callback, view: ActivationView, rows: RowTable): void {
    const layout = layoutOf(name, shape);
    const lists = this.#rowLists(recorder, rows, layout, this.#allPlaces);
    if (!lists) return;
    const length = shape.reduce((product, size) => product * size, 1);
    const packed = recorder.upload(new Float32Array(length));
    const packedView = { buffer: packed, ...strides(layout) };
    gather(recorder, view, packedView, lists.pairs, layout.heads, layout.width);
    recorder.host(async () => {
      const activation = await packed.read();
      const returned = await run(activation, { name, shape });
      const after = returned === undefined ? activation : hookResult(returned, name, shape, length);
      return () => this.gpu.device.queue.writeBuffer(packed.buffer, 0, after as Float32Array<ArrayBuffer>);
    });
    gather(recorder, packedView, view, lists.reversed, layout.heads, layout.width);
  }

  /** Pairs (row of the pass, row of the captured tensor) and their reverse; the same for every point of one layout. */
  #rowLists(recorder: Recorder, rows: RowTable, { headFirst, heads, positions }: ActivationLayout, places: Places) {
    const lists = this.#lists.get(rows) ?? new Map();
    this.#lists.set(rows, lists);
    const rowsPerPlace = headFirst ? heads : 1;
    const key = `${rowsPerPlace},${positions},${places === this.#places}`;
    const known = lists.get(key);
    if (known) return known;
    const pairs: number[] = [];
    for (let row = 0; row < rows.count; row++) {
      const sequence = rows.sequence(row);
      const place = places[sequence]?.get(rows.position(row));
      if (place !== undefined) pairs.push(row, sequence * rowsPerPlace * positions + place);
    }
    if (pairs.length === 0) return undefined;
    const reversed = pairs.map((_, index) => pairs[index ^ 1] as number);
    const made = {
      pairs: recorder.upload(Uint32Array.from(pairs)),
      reversed: recorder.upload(Uint32Array.from(reversed)),
    };
    lists.set(key, made);
    return made;
  }

  #rowsOf(rows: RowTable): Map<number, number> {
    let index = this.#rowIndex.get(rows);
    if (!index) {
      index = new Map();
      for (let row = 0; row < rows.count; row++) index.set(rows.sequence(row) * POSITIONS + rows.position(row), row);
      this.#rowIndex.set(rows, index);
    }
    return index;
  }
}

/** @throws HookError `hook/value-shape` for anything but as many numbers as the activation has. */
function hookResult(returned: unknown, name: string, shape: readonly number[], length: number): Float32Array {
  const takes = `the activation [${shape.join(", ")}] has ${length} numbers. Return a flat list of as many, or nothing to keep what the array holds.`;
  if (!s.isListLike(returned))
    throw new HookError("hook/value-shape", `The hook at ${name} returned no list of numbers; ${takes}`);
  if (returned.length !== length)
    throw new HookError("hook/value-shape", `The hook at ${name} returned ${returned.length} numbers; ${takes}`);
  if (returned instanceof Float32Array) return returned;
  const bad = Array.from(returned).findIndex((value) => typeof value !== "number");
  if (bad < 0) return Float32Array.from(returned as ArrayLike<number>);
  throw new HookError("hook/value-shape", `Entry ${bad} that the hook at ${name} returned is no number; ${takes}`);
}

function placesOf(positions: HookPlan["positions"]): Places {
  return positions.map((list) => new Map(list.map((position, place) => [position, place])));
}

function strides({ rowStride, headStride }: ActivationLayout): { rowStride: number; headStride: number } {
  return { rowStride, headStride };
}

/** The `Target` structs of shaders/edit.wgsl: row, head, valueStart, alpha, sequence, position, firstDim, endDim. */
const TARGET_FIELDS = 8;

function packTargets(targets: CompiledEdit["targets"], index: ReadonlyMap<number, number>): Uint32Array {
  const packed = new Uint32Array(TARGET_FIELDS * targets.length);
  const floats = new Float32Array(packed.buffer);
  targets.forEach(({ row: batchRow, sequence, position, head, valueStart, alpha, firstDim, endDim }, target) => {
    const row = index.get(sequence * POSITIONS + position) as number;
    packed.set([row, head, valueStart, 0, batchRow, position, firstDim, endDim], TARGET_FIELDS * target);
    floats[TARGET_FIELDS * target + 3] = alpha;
  });
  return packed;
}

function groupBy<T>(items: readonly T[], key: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const group = groups.get(key(item));
    if (group) group.push(item);
    else groups.set(key(item), [item]);
  }
  return groups;
}
