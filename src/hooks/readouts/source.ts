/**
 * Where readouts get their activations: from an activation cache that holds them, or from a pass of their own.
 *
 * Results and captures are both padded to rectangles ([…, batch, pos, …]), which may differ. For each position that really
 * exists, `ActivationRow` says where it lies in both. Only these rows are computed.
 */
import { HookError } from "../../errors.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { gather } from "../../kernels/calls.ts";
import { packedView } from "../../kernels/view.ts";
import { MODEL_INPUT, type ModelInput } from "../../model/input.ts";
import type { ModelSpec } from "../../model/spec.ts";
import * as s from "../../schema/schema.ts";
import { ActivationCache } from "../activation-cache.ts";
import { readCall } from "../call.ts";
import { captureAlone } from "../capture.ts";
import { axisSize } from "../edit.ts";
import type { HookedModel } from "../hooked-model.ts";
import { type Axis, type Point, resolvePoint } from "../points.ts";
import type { ForwardResult } from "../result.ts";

/** What to run the model on, or what a run has captured already. */
export type ReadoutSource = ModelInput | ActivationCache | ForwardResult;

/** Reads a `ReadoutSource`. */
export const SOURCE: s.Schema<ReadoutSource> = s.byForm(
  "text, token ids, a list of either, an activation cache or the result of a forward pass",
  (value) => {
    if (value instanceof ActivationCache) return s.instance("an activation cache", ActivationCache);
    if (typeof value === "object" && value !== null && "cache" in value) return FORWARD_RESULT;
    return MODEL_INPUT as s.Schema<ReadoutSource>;
  },
);

const FORWARD_RESULT: s.Schema<ReadoutSource> = {
  takes: "the result of a forward pass",
  read: (value, at) => {
    const { cache } = value as { cache: unknown };
    return cache instanceof ActivationCache ? (value as ForwardResult) : at.refuse(value, FORWARD_RESULT.takes);
  },
};

/** The model, source and options of a readout. @throws InputError `input/argument`, `input/unknown-key` */
export function readSource<T>(
  call: string,
  model: HookedModel,
  source: ReadoutSource,
  schema: s.Schema<T>,
  options: unknown,
): { source: ReadoutSource; options: T } {
  return {
    options: readCall(call, model, schema, options),
    source: s.readArgument(SOURCE, source, call, "source"),
  };
}

export interface ActivationRow {
  sequence: number;
  position: number;
  /** Row of the captured tensors, seen as [batch * pos, …]. */
  source: number;
  /** Row of the result, seen as [batch * pos, …]. */
  target: number;
}

export interface Need {
  /** The points that are read; `held` has the names of a given cache, for readouts that can take one or another. */
  points: (held: ReadonlySet<string> | undefined) => readonly string[];
  /** Positions of each sequence, negative from the end (of a cache: of what it captured). All when absent. */
  positions?: readonly number[] | undefined;
  /** Ends the pass. */
  signal?: AbortSignal | undefined;
}

/** Activations of the chosen rows. */
export class Activations {
  readonly rows: readonly ActivationRow[];
  /** The chosen positions of each sequence, ascending. */
  readonly positions: readonly (readonly number[])[];
  /** Positions of the result: the longest list. */
  readonly width: number;

  constructor(
    readonly cache: ActivationCache,
    chosen: readonly number[] | undefined,
  ) {
    if (chosen?.length === 0)
      throw new HookError("hook/empty-selection", "positions is empty. Leave it out to take all.");
    const captured = cache.positions;
    const places = captured.map((list, sequence) => {
      if (!chosen) return list.map((_, place) => place);
      return [...new Set(chosen.map((position) => cache.placeOf(sequence, position)))].sort((a, b) => a - b);
    });
    const capturedWidth = longest(captured);
    this.width = longest(places);
    this.positions = places.map((list, sequence) => list.map((place) => captured[sequence]?.[place] as number));
    this.rows = places.flatMap((list, sequence) =>
      list.map((place, index) => ({
        sequence,
        position: captured[sequence]?.[place] as number,
        source: sequence * capturedWidth + place,
        target: sequence * this.width + index,
      })),
    );
  }

  get batch(): number {
    return this.positions.length;
  }

  tensor(name: string): Tensor {
    return this.cache.tensor(name);
  }

  /** Pairs of rows for `gather`: from the captures, the packed rows or nothing (row 0), to packed rows or the result. */
  pairs(recorder: Recorder, from: "source" | "packed" | "target" | "zero", to: "packed" | "target"): Tensor {
    const pick = (row: ActivationRow, index: number, side: typeof from) =>
      side === "packed" ? index : side === "zero" ? 0 : row[side];
    return recorder.upload(
      Uint32Array.from(this.rows.flatMap((row, index) => [pick(row, index, from), pick(row, index, to)])),
    );
  }

  /** A temporary [rows, …] of the chosen rows of a capture, without padding. */
  packed(recorder: Recorder, name: string): Tensor {
    const tensor = this.tensor(name);
    const rest = tensor.shape.slice(2);
    const width = rest.reduce((product, size) => product * size, 1);
    const out = recorder.temp(this.rows.length, ...rest);
    gather(recorder, packedView(tensor, width), packedView(out, width), this.pairs(recorder, "source", "packed"));
    return out;
  }
}

/**
 * Calls `body` with the activations it needs, and frees what was captured for it.
 * @throws HookError `hook/not-captured` for a cache without them, `hook/other-model` for a cache of another model,
 * `hook/position-range`, `hook/cache-destroyed`; InputError and GpuError as `Model.forward`.
 */
export async function withActivations<T>(
  model: HookedModel,
  source: ReadoutSource,
  need: Need,
  body: (activations: Activations) => Promise<T>,
): Promise<T> {
  model.assertOpen();
  const { positions, signal } = need;
  signal?.throwIfAborted();
  const cache = cacheOf(source);
  if (cache) {
    cache.assertAlive();
    const points = need.points(new Set(cache.names)).map((name) => resolvePoint(model.spec, name));
    checkCache(model, cache, points);
    return body(new Activations(cache, positions));
  }
  using result = await captureAlone(model, source as ModelInput, need.points(undefined), { positions, signal });
  return await body(new Activations(result.cache, undefined));
}

export function cacheOf(source: ReadoutSource): ActivationCache | undefined {
  if (source instanceof ActivationCache) return source;
  return typeof source === "object" && "cache" in source ? source.cache : undefined;
}

function checkCache(model: HookedModel, cache: ActivationCache, points: readonly Point[]): void {
  const held = new Set(cache.names);
  const missing = points.filter(({ name }) => !held.has(name)).map(({ name }) => name);
  if (missing.length > 0) {
    const list =
      missing.length > 4 ? `${missing.slice(0, 3).join(", ")} and ${missing.length - 3} more` : missing.join(", ");
    throw new HookError(
      "hook/not-captured",
      `The cache lacks ${list}. Capture them too, or give the input instead of a cache.`,
    );
  }
  for (const { name, kind, layer, module } of points) {
    const tensor = cache.tensor(name);
    if (tensor.gpu !== model.gpu)
      throw new HookError("hook/other-model", `${name} of the cache lies on another GPU device than the model.`);
    const wrong = kind.axes.findIndex(
      (axis, index) =>
        fixedSize(model.spec, axis, { layer, module }, tensor.shape[index] as number) !== tensor.shape[index],
    );
    if (wrong >= 0) {
      const shape = tensor.shape.join(", ");
      throw new HookError(
        "hook/other-model",
        `${name} of the cache is [${shape}], which does not fit this ${model.spec.family} model. Use a cache of the same model.`,
      );
    }
  }
}

const FREE_AXES: ReadonlySet<Axis> = new Set(["batch", "pos", "query", "key"]);

/** The size the model gives an axis, or `actual` where it depends on the input. */
function fixedSize(spec: ModelSpec, axis: Axis, point: Pick<Point, "layer" | "module">, actual: number): number {
  return FREE_AXES.has(axis) ? actual : axisSize(axis, { spec, lengths: [1] }, point);
}

/** The chosen layers, of 0 to `most`; all when none are chosen. @throws HookError for no layer, or one that does not exist. */
export function chosenLayers(chosen: readonly number[] | undefined, most: number): number[] {
  if (chosen?.length === 0) throw new HookError("hook/empty-selection", "layers is empty. Leave it out to take all.");
  return chosen?.map((layer) => checkLayer(layer, most, "layers")) ?? Array.from({ length: most + 1 }, (_, i) => i);
}

/** A layer from 0 to `most`; negative ones count from `most` + 1. */
export function checkLayer(layer: number, most: number, what: string): number {
  const absolute = layer < 0 ? most + 1 + layer : layer;
  if (Number.isInteger(absolute) && absolute >= 0 && absolute <= most) return absolute;
  throw new HookError("hook/layer-range", `${what} is ${layer}; layers go from 0 to ${most} here.`);
}

function longest(lists: readonly (readonly unknown[])[]): number {
  return Math.max(0, ...lists.map((list) => list.length));
}
