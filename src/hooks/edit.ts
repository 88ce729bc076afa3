/**
 * Edits as data: where to change an activation, how, and with which value. An `Edit` is checked against the model and the
 * input before anything runs. It compiles into one dispatch, and its values stay on the GPU.
 */
import { HookError } from "../errors.ts";
import { Tensor } from "../gpu/tensor.ts";
import { isCausal } from "../model/causality.ts";
import type { ModelSpec } from "../model/spec.ts";
import { dHeadOf, dMlpOf, dValueOf, nKvHeadsOf } from "../model/weights/table.ts";
import { EDIT_OPS, type EditCall, type EditOp, editOp, isOneExpression } from "../ops/edit-call.ts";
import { layoutOf } from "../ops/places.ts";
import * as s from "../schema/schema.ts";
import { ActivationCache, type CacheEntry, ENTRY_PLACE_FIELDS } from "./activation-cache.ts";
import { NdArray } from "./nd-array.ts";
import { type Axis, isHeadFirst, type Point, resolvePoints } from "./points.ts";

/**
 * A number; an array or GPU tensor that broadcasts from the right against the selection, in the shape in which a cache has the
 * point: [batch, positions, dims], [batch, positions, heads, dims], or [batch, heads, queries, keys] for scores and pattern; or
 * an entry of a cache, read at the edited coordinates.
 */
export type EditValue = number | s.NumberList | NdArray | Tensor | CacheEntry;

/**
 * One change of an activation: at which point, at which places, what, with which value. Edits of one point apply in
 * order.
 */
export interface Edit {
  /** A point, or a pattern with `*`. */
  at: string;
  /** How the activation x changes; see `EditOp`. */
  op: EditOp;
  /** v: a number, values as long as the last axes of the selection as it is read, or an entry of a cache. */
  value?: EditValue;
  /** Factor of the value. `lerp` needs it, `add` has 1 by default, no other op takes it. */
  alpha?: number;
  /** For `wgsl`: a WGSL expression in x, v (f32) and b, p, h, d (u32: batch entry, position, head, dimension). */
  expression?: string;
  /** Entries of the batch; all when absent. */
  batch?: s.Indices;
  /** Positions of the sequence (queries, for scores and pattern); negative from its end; all when absent. */
  positions?: s.Indices;
  /** Heads (key-value heads for k and v); all when absent. Not for points without heads. */
  heads?: s.Indices;
  /** Dimensions of the last axis (keys, for scores and pattern, of which a query's masked ones stay as they are); all when absent. */
  dims?: s.Indices;
}

/** An edit as it is read: what may be one index is a list. */
export type CheckedEdit = s.Read<Edit>;

const cacheEntry = s.object<CacheEntry>("an entry of an activation cache", {
  cache: s.required(s.instance("an activation cache", ActivationCache)),
  name: s.required(s.text),
  ...ENTRY_PLACE_FIELDS,
});

export const EDIT_VALUE = s.byForm<EditValue>(
  "a number, a flat list of numbers, an array of a cache, a tensor, or an entry of a cache",
  (given) => {
    if (typeof given === "number") return s.number;
    if (s.isListLike(given)) return s.numbers;
    if (given instanceof Tensor) return s.instance("a tensor", Tensor);
    if (given instanceof NdArray) return s.instance("an array", NdArray);
    return typeof given === "object" && given !== null ? cacheEntry : undefined;
  },
);

export const EDIT_FIELDS = {
  at: s.required(s.text),
  op: s.required(s.oneOf(...(Object.keys(EDIT_OPS) as EditOp[]))),
  value: EDIT_VALUE,
  alpha: s.finite,
  expression: s.text,
  batch: s.indices,
  positions: s.indices,
  heads: s.indices,
  dims: s.indices,
} as const satisfies s.Fields<Edit>;

export const EDIT = s.object<Edit>("an edit", EDIT_FIELDS);
/** One edit or several. */
export const EDITS = s.oneOrMore("edits", EDIT);

/** What an edit is checked against: the sequences of the pass, and how many of their positions are new. */
export interface EditScope {
  spec: ModelSpec;
  /** Tokens of each sequence once the pass is done. */
  lengths: readonly number[];
  /** First position of each sequence that this pass computes. */
  starts: readonly number[];
}

/** A checked edit of one point. */
export interface CompiledEdit extends EditCall {
  readonly point: Point;
}

/**
 * Checks and compiles edits, in order; a pattern compiles to one edit for each point.
 * @throws HookError naming the edit and what is wrong: point, selection, value shape, missing value or alpha.
 */
export function compileEdits(edits: readonly CheckedEdit[], scope: EditScope): CompiledEdit[] {
  return edits.flatMap((edit) => {
    checkForm(edit);
    return resolvePoints(scope.spec, edit.at).map((point) => compileAt(edit, point, scope));
  });
}

function fail(edit: CheckedEdit, code: string, message: string): HookError {
  return new HookError(code, `Edit of ${edit.at} (${edit.op}): ${message}`);
}

function checkForm(edit: CheckedEdit): void {
  const { value, alpha } = editOp(edit.op);
  const isExpression = value === "expression";
  if (value === "needed" && edit.value === undefined) throw fail(edit, "hook/no-value", "it needs a value.");
  if (value === "none" && edit.value !== undefined) throw fail(edit, "hook/no-value", "it takes no value.");
  if (alpha === "needed" && edit.alpha === undefined)
    throw fail(edit, "hook/no-alpha", "it needs alpha, the share of the value.");
  if (alpha === "none" && edit.alpha !== undefined)
    throw fail(edit, "hook/no-alpha", "it takes no alpha; only lerp and add do.");
  if (isExpression !== (edit.expression !== undefined))
    throw fail(edit, "hook/expression", "an expression goes with the op wgsl, and only with it.");
  if (edit.expression !== undefined && !isOneExpression(edit.expression)) {
    throw fail(edit, "hook/expression", `${JSON.stringify(edit.expression)} is not a single WGSL expression.`);
  }
  const readsValue = isExpression && /\bv\b/.test(edit.expression ?? "");
  if (isExpression && readsValue !== (edit.value !== undefined)) {
    const why = readsValue
      ? "its expression reads v, so it needs a value."
      : "its expression does not read v, its value.";
    throw fail(edit, "hook/no-value", why);
  }
}

function compileAt(edit: CheckedEdit, point: Point, scope: EditScope): CompiledEdit {
  const width = axisSize(point.kind.axes.at(-1) as Axis, scope, point);
  const headAxis = point.kind.axes.slice(0, -1).find((axis) => axis === "head" || axis === "kvHead" || axis === "slot");
  if (edit.heads && !headAxis) throw fail(edit, "hook/head-range", `${point.name} has no heads.`);
  const headCount = headAxis ? axisSize(headAxis, scope, point) : 1;
  const heads = selectIndices(edit, "heads", headCount);
  const dims = edit.dims && selectIndices(edit, "dims", width);
  const places = selectPlaces(edit, scope);
  const compiled = { point, at: point.name, op: edit.op, expression: edit.expression, dims, width };
  const source = valueSource(edit, point, {
    places,
    heads,
    headCount,
    dimCount: dims?.length ?? width,
    hasHeads: headAxis !== undefined,
    width,
  });
  const targets = places.flatMap((positions, rowIndex) =>
    positions.list.flatMap((position, positionIndex) =>
      heads.map((head, headIndex) => ({
        row: positions.sequence,
        sequence: positions.sequence,
        position,
        head,
        alpha: edit.alpha ?? 1,
        ...visibleDims(point, position, width, scope, positions.sequence),
        valueStart: source.start({ sequence: positions.sequence, position, head, rowIndex, positionIndex, headIndex }),
      })),
    ),
  );
  const isSeen = (dim: number) => targets.some(({ firstDim, endDim }) => dim >= firstDim && dim < endDim);
  if (dims && targets.length > 0 && !dims.some(isSeen)) {
    throw fail(
      edit,
      "hook/empty-selection",
      `none of the selected queries sees key ${dims.join(", ")}. Causality and the window are not an edit's to change.`,
    );
  }
  return { ...compiled, targets, values: source.values, valueStride: source.stride, byCoordinate: source.byCoordinate };
}

/** For scores and pattern the keys that the query at `position` sees; for other points everything. */
function visibleDims(
  { kind, layer }: Point,
  position: number,
  width: number,
  { spec, lengths }: EditScope,
  sequence: number,
): { firstDim: number; endDim: number } {
  if (kind.axes.at(-1) !== "key") return { firstDim: 0, endDim: width };
  const window = spec.layers[layer as number]?.window ?? width;
  const firstDim = Math.max(0, position + 1 - window);
  if (isCausal(spec)) return { firstDim, endDim: position + 1 };
  return { firstDim, endDim: Math.min(lengths[sequence] as number, position + window) };
}

/** Length of an axis of a point. */
export function axisSize(
  axis: Axis,
  { spec, lengths }: Pick<EditScope, "spec" | "lengths">,
  { layer = 0, module }: Pick<Point, "layer" | "module">,
): number {
  const sizes: Record<Axis, number> = {
    batch: lengths.length,
    pos: Math.max(...lengths),
    query: Math.max(...lengths),
    key: Math.max(...lengths),
    head: spec.nHeads,
    kvHead: nKvHeadsOf(spec, layer),
    dHead: dHeadOf(spec, layer),
    dValue: dValueOf(spec, layer),
    dRope: spec.attention.latent?.dRope ?? 0,
    dQLatent: spec.attention.latent?.dQ ?? 0,
    dKvLatent: spec.attention.latent?.dKv ?? 0,
    dPerLayer: spec.embed.perLayer?.width ?? 0,
    dModel: spec.dModel,
    dMlp: dMlpOf(spec, layer),
    expert: spec.mlp.experts?.count ?? 0,
    slot: spec.mlp.experts?.perToken ?? 0,
    dExpert: spec.mlp.experts?.dExpert ?? 0,
    dShared: spec.mlp.experts?.shared?.dMlp ?? 0,
    vocab: spec.vocabSize,
    one: 1,
    feature: module?.dSae ?? 0,
    dIn: module?.dIn ?? 0,
    dOut: module?.dOut ?? 0,
  };
  return sizes[axis];
}

/** One entry of each selection, in words. */
const ENTRY = { batch: "batch entry", heads: "head", dims: "dim" } as const;

function selectIndices(edit: CheckedEdit, what: keyof typeof ENTRY, size: number): number[] {
  const chosen = edit[what];
  if (!chosen) return Array.from({ length: size }, (_, index) => index);
  if (chosen.length === 0) throw fail(edit, "hook/empty-selection", `${what} is empty. Leave it out to select all.`);
  const bad = chosen.find((index) => index < 0 || index >= size);
  if (bad !== undefined)
    throw fail(
      edit,
      `hook/${what.replace(/s$/, "")}-range`,
      `there is no ${ENTRY[what]} ${bad}; they go from 0 to ${size - 1}.`,
    );
  if (new Set(chosen).size < chosen.length) throw fail(edit, "hook/repeated-selection", `${what} repeats an entry.`);
  return [...chosen];
}

interface Places {
  sequence: number;
  list: number[];
}

/** The selected positions of each selected batch entry. */
function selectPlaces(edit: CheckedEdit, { lengths, starts }: EditScope): Places[] {
  const batch = selectIndices(edit, "batch", lengths.length);
  if (edit.positions?.length === 0)
    throw fail(edit, "hook/empty-selection", "positions is empty. Leave it out to select all.");
  return batch.map((sequence) => {
    const length = lengths[sequence] as number;
    const start = starts[sequence] as number;
    const list =
      edit.positions?.map((position) => (position < 0 ? length + position : position)) ??
      Array.from({ length: length - start }, (_, i) => start + i);
    const bad = list.findIndex((position) => !Number.isInteger(position) || position < start || position >= length);
    if (bad >= 0) {
      throw fail(
        edit,
        "hook/position-range",
        `batch entry ${sequence} has no position ${edit.positions?.[bad]} in this pass; it computes ${start} to ${length - 1}.`,
      );
    }
    if (new Set(list).size < list.length) throw fail(edit, "hook/repeated-selection", "positions repeats an entry.");
    return { sequence, list };
  });
}

interface Selection {
  places: Places[];
  heads: number[];
  dimCount: number;
  hasHeads: boolean;
  headCount: number;
  width: number;
}

interface TargetPlace {
  sequence: number;
  position: number;
  head: number;
  rowIndex: number;
  positionIndex: number;
  headIndex: number;
}

interface ValueSource {
  values: Tensor | Float32Array;
  stride: 0 | 1;
  byCoordinate: boolean;
  start(place: TargetPlace): number;
}

function valueSource(edit: CheckedEdit, point: Point, selection: Selection): ValueSource {
  const { value } = edit;
  if (value === undefined || typeof value === "number") {
    return { values: new Float32Array([value ?? 0]), stride: 0, byCoordinate: false, start: () => 0 };
  }
  if (typeof value === "object" && "cache" in value) return cacheSource(edit, point, value, selection);
  if (value instanceof Tensor && value.dtype !== "f32")
    throw fail(edit, "hook/value-shape", `its value tensor holds ${value.dtype}; activations are f32.`);
  if (value instanceof Tensor && value.destroyed)
    throw fail(edit, "hook/value-destroyed", "its value tensor was destroyed.");
  if (value instanceof NdArray) return broadcastSource(edit, point, value.data, selection, value.shape);
  if (value instanceof Tensor) return broadcastSource(edit, point, value, selection, value.shape);
  return broadcastSource(edit, point, Float32Array.from(value), selection);
}

/**
 * A value as long as the trailing axes of the selection, which are those that the point has when it is read: what a cache gives
 * of a selection can be set there again.
 */
function broadcastSource(
  edit: CheckedEdit,
  point: Point,
  values: Tensor | Float32Array,
  { places, heads, dimCount, hasHeads }: Selection,
  ownShape: readonly number[] = [],
): ValueSource {
  // As in a cache, sequences that are shorter have entries at the end, which are not read.
  const positions = Math.max(1, ...places.map(({ list }) => list.length));
  const headFirst = isHeadFirst(point.name);
  const inner = headFirst ? [heads.length, positions, dimCount] : [positions, heads.length, dimCount];
  const shape = [places.length, ...inner];
  // How many numbers the last 0, 1, … 4 axes hold.
  const counts = [0, 1, 2, 3, 4].map((axes) => shape.slice(4 - axes).reduce((product, size) => product * size, 1));
  const axes = counts.indexOf(values.length);
  const read = hasHeads ? shape : [places.length, positions, dimCount];
  if (axes < 0) {
    throw fail(
      edit,
      "hook/value-shape",
      `its value has ${values.length} numbers; the selection is [${read.join(", ")}], so it takes ${[...new Set(counts)].join(", or ")}.`,
    );
  }
  checkShape(edit, ownShape, read);
  // Numbers from one entry of an axis to the next; 0 where the value is shared along it.
  const strideOf = (axis: number) => (axis >= 4 - axes ? (counts[3 - axis] as number) : 0);
  const [perRow, perHead, perPosition] = [0, headFirst ? 1 : 2, headFirst ? 2 : 1].map(strideOf) as [
    number,
    number,
    number,
  ];
  const start = ({ rowIndex, headIndex, positionIndex }: TargetPlace) =>
    rowIndex * perRow + headIndex * perHead + positionIndex * perPosition;
  return { values, stride: axes === 0 ? 0 : 1, byCoordinate: false, start };
}

/**
 * Tensors and arrays say what their axes are: as many numbers in another order would be other values. One axis is read as a
 * flat list; axes of 1 may be left out.
 */
function checkShape(edit: CheckedEdit, shape: readonly number[], selection: readonly number[]): void {
  const own = shape.slice(shape.findIndex((size) => size !== 1));
  const left = [...selection];
  const fits = (size: number) => {
    while (size !== 1 && left.at(-1) === 1) left.pop();
    return left.pop() === size;
  };
  if (own.length < 2 || [...own].reverse().every(fits)) return;
  throw fail(
    edit,
    "hook/value-shape",
    `its value is [${shape.join(", ")}]; the selection is [${selection.join(", ")}], and a value with axes has its last ones.`,
  );
}

/** A cache entry is read at the coordinates of each target, or at the batch entry and position it names. */
function cacheSource(
  edit: CheckedEdit,
  point: Point,
  entry: CacheEntry,
  { width, headCount, hasHeads }: Selection,
): ValueSource {
  entry.cache.assertAlive();
  const tensor = entry.cache.tensor(entry.name);
  const layout = layoutOf(tensor.shape, isHeadFirst(entry.name));
  // A residual is one vector for all heads that read it.
  const isShared = hasHeads && !layout.hasHeads;
  const fits = isShared || (layout.hasHeads === hasHeads && layout.heads === headCount);
  if (layout.width !== width || !fits) {
    throw fail(
      edit,
      "hook/value-shape",
      `${entry.name} of the cache has shape [${tensor.shape.join(", ")}], which does not fit ${point.name} with ${hasHeads ? `${headCount} heads and ` : ""}last axis ${width}. Take it from a model of the same shape.`,
    );
  }
  const start = ({ sequence, position, head }: TargetPlace) => {
    const batch = entry.batch ?? (layout.batch === 1 ? 0 : sequence);
    const place = entry.cache.placeOf(batch, entry.position ?? position);
    return layout.rowIndex(batch, place) * layout.rowStride + (isShared ? 0 : head * layout.headStride);
  };
  return { values: tensor, stride: 1, byCoordinate: true, start };
}
