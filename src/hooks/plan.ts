/** The plan of one hooked pass: edits, captures and callbacks, checked against the input, and what the pass needs for them. */
import { HookError, InputError } from "../errors.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { assertRunnable } from "../model/engine.ts";
import { bosFor, type TextModel, type TokenInput, toIds } from "../model/input.ts";
import type { Model } from "../model/model.ts";
import { assertOneRope, FORWARD_FIELDS, type ForwardOptions, type RunOptions } from "../model/runner.ts";
import type { ModelSpec } from "../model/spec.ts";
import type { Callback, HookFunction } from "../ops/bindings.ts";
import * as s from "../schema/schema.ts";
import { ActivationCache } from "./activation-cache.ts";
import { axisSize, type CheckedEdit, compileEdits, EDITS, type Edit, type EditScope } from "./edit.ts";
import { isNarrowed, PATTERNS, type Point, type PointPattern, reachedPoints, resolvePoints } from "./points.ts";

/** Options of `HookedModel.forward`. */
export interface HookedForwardOptions extends ForwardOptions {
  /** Points to capture: names, `*` patterns, regular expressions or predicates. */
  capture?: PointPattern | readonly PointPattern[];
  /** Capture only these positions, ascending and each once; negative from the end. All of the pass when absent. */
  positions?: s.Indices;
  /** Edits. Those at one point are applied in order. */
  edits?: Edit | readonly Edit[];
  /** Run only the blocks before this one; there are no logits then. */
  stopAtLayer?: number;
}

/** The options of a hooked pass as they are read. */
export type CheckedForwardOptions = Omit<HookedForwardOptions, "positions" | "edits"> & {
  positions?: readonly number[];
  edits?: readonly CheckedEdit[];
};

export const HOOKED_FORWARD_OPTIONS = s.object<HookedForwardOptions, CheckedForwardOptions>("the options of forward", {
  ...FORWARD_FIELDS,
  capture: PATTERNS,
  positions: s.indices,
  edits: EDITS,
  stopAtLayer: s.ranged("a whole number from 0 to the number of blocks"),
});

/** A hook of `runWithHooks`: a point, pattern or predicate, and what to call there. */
export type Hook = readonly [PointPattern, HookFunction];

/** Hooks in order, or by the names of their points. */
export type Hooks = readonly Hook[] | Hook | Readonly<Record<string, HookFunction>>;

const HOOKS_TAKE = "a list of pairs [point, function], a Map of them, or an object { point: function }";

/** Reads `Hooks` to a list. */
export const HOOKS: s.Schema<Hook[]> = {
  takes: HOOKS_TAKE,
  read: (value, at) => {
    if (typeof value !== "object" || value === null) return at.refuse(value, HOOKS_TAKE);
    const isOne = Array.isArray(value) && value.length === 2 && typeof value[1] === "function";
    const isIterable = Symbol.iterator in value; // a list or a Map
    if (!isIterable && !s.isRecord(value)) return at.refuse(value, HOOKS_TAKE);
    const pairs = isOne ? [value] : isIterable ? [...(value as Iterable<unknown>)] : Object.entries(value);
    return pairs.map((pair, index): Hook => {
      const place = isOne ? at : at.entry(index);
      if (!Array.isArray(pair) || pair.length !== 2) return place.refuse(pair, "a pair [point, function]");
      const [pattern] = PATTERNS.read([pair[0]], place) as [PointPattern];
      return [pattern, s.callback.read(pair[1], place.entry(1)) as HookFunction];
    });
  },
};

export interface PassPlan {
  cache: ActivationCache;
  run: Pick<RunOptions, "hooks" | "widest" | "everyRow" | "stopAtLayer">;
}

/** Checks edits, captures and hooks against one pass and allocates what is captured. */
export function planPass(
  model: Model,
  ids: readonly (readonly number[])[],
  run: RunOptions,
  options: CheckedForwardOptions,
  hooks: readonly Hook[] = [],
): PassPlan {
  const { spec, gpu } = model;
  const starts = run.kv.lengths;
  const lengths = starts.map((start, sequence) => start + (ids[sequence] as readonly number[]).length);
  const scope: EditScope = { spec, lengths, starts };
  const allPositions = lengths.map((length, sequence) => range(starts[sequence] as number, length));
  const positions = options.positions
    ? allPositions.map((list, row) => pickPositions(options.positions as number[], list, row))
    : allPositions;
  const { startAtLayer } = run;
  const stopAtLayer = checkStop(spec, options, startAtLayer);
  const edits = compileEdits(options.edits ?? [], scope);
  const captured = options.capture === undefined ? [] : resolvePoints(spec, options.capture);
  if (options.positions && captured.length === 0)
    s.refuseIdle(
      "forward",
      "positions",
      "without capture: it says what is captured. Edits have positions of their own",
    );
  const callbacks = hooks.flatMap(([pattern, call]) => resolvePoints(spec, pattern).map((point) => ({ point, call })));
  const wanted = [...captured, ...callbacks.map(({ point }) => point), ...edits.map(({ point }) => point)];
  checkReached(spec, wanted, { startAtLayer, stopAtLayer });
  checkLogits([...captured, ...callbacks.map(({ point }) => point)], options);
  const widest = Math.max(0, ...wanted.map((point) => rowWidth(point, scope)));
  checkOnePass(model, callbacks.length > 0, ids, widest);

  const tensors = new Map<string, Tensor>();
  const cache = new ActivationCache(gpu, tensors, positions);
  try {
    // Where a sequence is shorter than the longest, zeros have to stand behind it.
    const isRagged = positions.some((list) => list.length !== positions[0]?.length);
    for (const point of captured) {
      const shape = pointShape(point, scope, positions);
      tensors.set(point.name, isRagged ? gpu.tensor(shape, point.name) : gpu.result(shape, point.name));
    }
  } catch (error) {
    cache.destroy();
    throw error;
  }
  const calls: Callback[] = callbacks.map(({ point, call }) => ({
    name: point.name,
    run: call,
    shape: pointShape(point, scope, allPositions),
  }));
  const captures = [...tensors].map(([name, tensor]) => ({ name, tensor }));
  const passHooks = wanted.length === 0 ? undefined : { edits, captures, callbacks: calls, positions, allPositions };
  const everyRow = calls.length > 0 || stopAtLayer !== undefined || captured.some((point) => isNarrowed(spec, point));
  return { cache, run: { hooks: passHooks, widest, everyRow, stopAtLayer } };
}

/**
 * Token ids of a forward pass, checked with its captures and edits: all that can be known of a call without weights.
 * @throws InputError, HookError as `HookedModel.forward`
 */
export function checkForward(
  model: TextModel & Pick<Model, "spec">,
  input: TokenInput,
  given: Pick<HookedForwardOptions, "addBos" | "logits" | "capture" | "edits">,
): number[][] {
  const options = s.readOptions(HOOKED_FORWARD_OPTIONS, given, "forward");
  const { spec } = model;
  const ids = toIds(input, model, bosFor(options));
  const starts = ids.map(() => 0);
  assertRunnable(spec, ids);
  assertOneRope(spec, starts, ids);
  compileEdits(options.edits ?? [], { spec, starts, lengths: ids.map(({ length }) => length) });
  checkLogits(options.capture === undefined ? [] : resolvePoints(spec, options.capture), options);
  return ids;
}

/** Elements that one row of the pass has at a point. */
export function rowWidth(point: Point, scope: EditScope): number {
  const own = point.kind.axes.filter((axis) => axis !== "batch" && axis !== "pos" && axis !== "query");
  return own.reduce((product, axis) => product * axisSize(axis, scope, point), 1);
}

/** The shape of a captured point: [batch, pos, …], with as many positions as the longest list. */
export function pointShape(point: Point, scope: EditScope, positions: readonly (readonly number[])[]): number[] {
  const longest = Math.max(0, ...positions.map((list) => list.length));
  return point.kind.axes.map((axis) => (axis === "pos" || axis === "query" ? longest : axisSize(axis, scope, point)));
}

function checkStop(
  { nLayers }: ModelSpec,
  { stopAtLayer, kv, logits }: CheckedForwardOptions,
  startAtLayer: number | undefined,
): number | undefined {
  if (stopAtLayer === undefined) return undefined;
  if (startAtLayer !== undefined && stopAtLayer <= startAtLayer) {
    throw new InputError(
      "input/stop-layer",
      `stopAtLayer is ${stopAtLayer} and startAtLayer ${startAtLayer}, so that no block would run. Raise stopAtLayer.`,
    );
  }
  if (!Number.isInteger(stopAtLayer) || stopAtLayer < 0 || stopAtLayer > nLayers) {
    throw new InputError(
      "input/stop-layer",
      `stopAtLayer is ${stopAtLayer}; it must be a whole number from 0 to ${nLayers}, the number of blocks.`,
    );
  }
  if (logits !== undefined && logits !== "none")
    s.refuseIdle("forward", "logits", "beside stopAtLayer: a pass that stops has none");
  if (kv && stopAtLayer < nLayers) {
    throw new InputError(
      "input/stop-layer",
      `stopAtLayer is ${stopAtLayer}, so that the cache would lack keys and values of the ${nLayers - stopAtLayer} blocks after it. Leave out stopAtLayer, or run the whole sequence without kv.`,
    );
  }
  return stopAtLayer;
}

/** @throws HookError `hook/not-reached` */
export function checkReached(
  spec: ModelSpec,
  wanted: readonly Point[],
  { startAtLayer, stopAtLayer }: Pick<RunOptions, "startAtLayer" | "stopAtLayer">,
): void {
  if (startAtLayer === undefined && stopAtLayer === undefined) return;
  const reached = reachedPoints(spec, { startAtLayer, stopAtLayer });
  const beyond = wanted.find(({ name }) => !reached.has(name));
  if (!beyond) return;
  const isBefore = startAtLayer !== undefined && !reachedPoints(spec, { startAtLayer }).has(beyond.name);
  throw new HookError(
    "hook/not-reached",
    isBefore
      ? `${beyond.name} is not reached: the pass starts at block ${startAtLayer}. Lower startAtLayer.`
      : `${beyond.name} is not reached: the pass stops before block ${stopAtLayer}. Raise stopAtLayer.`,
  );
}

function checkLogits(looked: readonly Point[], options: CheckedForwardOptions): void {
  const wantsLogits = looked.some(({ name }) => name === "logits");
  if (wantsLogits && (options.logits ?? "all") !== "all") {
    throw new HookError(
      "hook/not-reached",
      `A hook at "logits" needs logits: "all"; the result's \`logits\` holds the selected ones already.`,
    );
  }
}

function checkOnePass(model: Model, hasCallbacks: boolean, ids: readonly (readonly number[])[], widest: number): void {
  if (!hasCallbacks) return;
  const rows = ids.reduce((sum, list) => sum + list.length, 0);
  const most = model.engine.rowsPerPass(widest);
  if (rows <= most) return;
  throw new HookError(
    "hook/too-many-rows",
    `JavaScript hooks see a pass as a whole, at most ${most} tokens here; the input has ${rows}. Use edits and captures, or fewer tokens.`,
  );
}

function pickPositions(chosen: readonly number[], available: readonly number[], row: number): number[] {
  const end = (available.at(-1) ?? -1) + 1;
  const absolute = chosen.map((position) => (position < 0 ? end + position : position));
  const bad = absolute.findIndex((position) => !available.includes(position));
  if (bad >= 0) {
    throw new HookError(
      "hook/position-range",
      `Batch entry ${row} has no position ${chosen[bad]} in this pass; it computes ${available[0]} to ${end - 1}.`,
    );
  }
  if (chosen.length === 0)
    throw new HookError("hook/empty-selection", "positions is empty. Leave it out to capture all.");
  return [...new Set(absolute)].sort((a, b) => a - b);
}

function range(start: number, end: number): number[] {
  return Array.from({ length: end - start }, (_, index) => start + index);
}
