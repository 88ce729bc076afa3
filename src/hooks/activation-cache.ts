/**
 * Captured activations, on the GPU until they are read.
 *
 * Shapes are TransformerLens's: residual [batch, pos, dModel], heads [batch, pos, head, dHead], scores and pattern
 * [batch, head, query, key]. Sequences shorter than the longest have zeros at the end.
 */

import { CHECKPOINT } from "../checkpoint/checkpoint.ts";
import { type Checkpoint, streamSafetensors, toFloat32, writeSafetensors } from "../checkpoint/index.ts";
import { parseJson } from "../checkpoint/json.ts";
import { HookError } from "../errors.ts";
import { Gpu } from "../gpu/gpu.ts";
import { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { gather } from "../kernels/calls.ts";
import { layoutOf } from "../ops/places.ts";
import { nearestNames } from "../schema/nearest.ts";
import * as s from "../schema/schema.ts";
import { NdArray } from "./nd-array.ts";
import { isHeadFirst } from "./points.ts";

/** Part of an activation: batch entries, positions (as in the prompt) and heads; all when absent. */
export interface ActivationSlice {
  /** Entries of the batch. */
  batch?: s.Indices;
  /** Positions as in the prompt; negative from the end of each sequence. */
  positions?: s.Indices;
  /** Heads, at points that have them. */
  heads?: s.Indices;
}

const ACTIVATION_SLICE = s.object<ActivationSlice>("a slice", {
  batch: s.indices,
  positions: s.indices,
  heads: s.indices,
});

/** Another place of an entry than the edited one. */
export interface EntryPlace {
  /** Entry of the batch. */
  batch?: number;
  /** Position as in the prompt; negative from the last captured. */
  position?: number;
}

export const ENTRY_PLACE_FIELDS = { batch: s.whole, position: s.whole } as const satisfies s.Fields<EntryPlace>;
const ENTRY_PLACE = s.object<EntryPlace>("a place", ENTRY_PLACE_FIELDS);

/** An entry of a cache, used as the value of an edit; `batch` and `position` read another place than the edited one. */
export interface CacheEntry extends EntryPlace {
  cache: ActivationCache;
  name: string;
}

/**
 * What a forward pass captured, by the names of the points. It stays on the GPU until `destroy()`.
 * @throws HookError `hook/cache-destroyed` from every method after that.
 */
export class ActivationCache {
  #destroyed = false;

  constructor(
    private readonly gpu: Gpu,
    private readonly tensors: ReadonlyMap<string, Tensor>,
    /** For each sequence the positions that were captured, ascending. */
    readonly positions: readonly (readonly number[])[],
  ) {}

  /** The captured points, in the order of the forward pass. */
  get names(): string[] {
    return [...this.tensors.keys()];
  }

  /** Whether `destroy()` was called. */
  get destroyed(): boolean {
    return this.#destroyed;
  }

  /** Bytes on the GPU; none after `destroy()`. */
  get byteLength(): number {
    if (this.#destroyed) return 0;
    return [...this.tensors.values()].reduce((sum, tensor) => sum + tensor.buffer.size, 0);
  }

  /** The shape of a capture, with the axes of the table of points. @throws HookError `hook/not-captured` */
  shape(name: string): readonly number[] {
    return this.tensor(name).shape;
  }

  /**
   * The tensor on the GPU; it ends with the cache.
   * @throws HookError `hook/not-captured` with the nearest names, `hook/cache-destroyed`.
   */
  tensor(name: string): Tensor {
    this.assertAlive();
    const tensor = this.tensors.get(s.readArgument(s.text, name, "ActivationCache", "name"));
    if (!tensor) {
      const near = nearestNames(name, this.tensors.keys(), 3).join(", ");
      throw new HookError(
        "hook/not-captured",
        `"${name}" is not in this cache. ${near ? `Nearest: ${near}.` : "The cache is empty."} To have a point, name it in \`capture\`.`,
      );
    }
    return tensor;
  }

  /** This entry as the value of an edit: the same coordinates, or another batch entry or position. */
  at(name: string, place: EntryPlace = {}): CacheEntry {
    this.tensor(name);
    const read = s.readOptions(ENTRY_PLACE, place, "ActivationCache.at");
    if (read.batch !== undefined) this.#positionsOf(read.batch);
    return { cache: this, name, ...read };
  }

  /** The values, row-major. A slice is cut on the GPU, so only its numbers cross to the host. */
  async read(name: string, slice?: ActivationSlice): Promise<Float32Array> {
    return (await this.#read("read", name, slice)).data;
  }

  /** The same values with their shape: `pattern.at(batch, head, query, key)`, slices, means over axes. */
  async array(name: string, slice?: ActivationSlice): Promise<NdArray> {
    const { data, shape } = await this.#read("array", name, slice);
    return new NdArray(data, shape);
  }

  async #read(
    call: string,
    name: string,
    slice?: ActivationSlice,
  ): Promise<{ data: Float32Array; shape: readonly number[] }> {
    const tensor = this.tensor(name);
    if (slice === undefined) return { data: await tensor.read(), shape: tensor.shape };
    using part = await this.#cut(name, tensor, s.readOptions(ACTIVATION_SLICE, slice, `ActivationCache.${call}`));
    return { data: await part.read(), shape: part.shape };
  }

  /** Index along the position axis of a position of a sequence; negative positions count from the last captured. */
  placeOf(sequence: number, position: number): number {
    const positions = this.#positionsOf(sequence);
    const place = position < 0 ? positions.length + position : positions.indexOf(position);
    if (!Number.isInteger(place) || place < 0 || place >= positions.length) {
      throw new HookError(
        "hook/position-range",
        `Batch entry ${sequence} of the cache has positions ${summary(positions)}, not ${String(position)}.`,
      );
    }
    return place;
  }

  /** The captured positions of a batch entry. */
  #positionsOf(batch: number): readonly number[] {
    const positions = this.positions[batch];
    if (positions) return positions;
    throw new HookError(
      "hook/batch-range",
      `The cache has a batch of ${this.positions.length}; there is no batch entry ${String(batch)}.`,
    );
  }

  async #cut(name: string, tensor: Tensor, slice: s.Read<ActivationSlice>): Promise<Tensor> {
    const view = layoutOf(tensor.shape, isHeadFirst(name));
    for (const [what, list] of Object.entries(slice)) {
      if (list?.length === 0)
        throw new HookError(
          "hook/empty-selection",
          `The slice of ${name} has no ${what}. Leave ${what} out to read all.`,
        );
    }
    const batch = slice.batch ?? range(view.batch);
    const places = batch.map((entry) => {
      this.#positionsOf(entry);
      return slice.positions?.map((position) => this.placeOf(entry, position)) ?? range(view.positions);
    });
    if (slice.heads && !view.hasHeads) throw new HookError("hook/head-range", `${name} has no heads.`);
    const heads = slice.heads ?? range(view.heads);
    const bad = heads.find((head) => !Number.isInteger(head) || head < 0 || head >= view.heads);
    if (bad !== undefined)
      throw new HookError("hook/head-range", `${name} has ${view.heads} heads; there is no head ${bad}.`);
    const count = (places[0] as number[]).length;
    const shape = view.headFirst
      ? [batch.length, heads.length, count, view.width]
      : [batch.length, count, heads.length, view.width];
    const target = layoutOf(shape, isHeadFirst(name));
    const part = this.gpu.tensor(view.hasHeads ? shape : [batch.length, count, view.width], `slice of ${name}`);
    await Recorder.run(this.gpu, `slice of ${name}`, (recorder) => {
      const pairs = batch.flatMap((entry, index) =>
        (places[index] as number[]).flatMap((place, placeIndex) => [
          view.rowIndex(entry, place),
          target.rowIndex(index, placeIndex),
        ]),
      );
      const list = recorder.upload(Uint32Array.from(pairs));
      heads.forEach((head, headIndex) => {
        const source = { ...view, buffer: tensor, start: head * view.headStride };
        gather(recorder, source, { ...target, buffer: part, start: headIndex * target.headStride, heads: 1 }, list);
      });
    });
    return part;
  }

  /** The cache as a safetensors file, which Python's safetensors package opens too. */
  async save(): Promise<Uint8Array> {
    this.assertAlive();
    const tensors = [];
    for (const [name, tensor] of this.tensors) {
      tensors.push({ name, dtype: "F32" as const, shape: [...tensor.shape], data: await tensor.read() });
    }
    return writeSafetensors(tensors, { positions: JSON.stringify(this.positions) });
  }

  /** The same in pieces, for caches that should not stand in memory whole. */
  stream(): AsyncGenerator<Uint8Array> {
    this.assertAlive();
    const tensors = [...this.tensors].map(([name, tensor]) => ({
      name,
      dtype: "F32" as const,
      shape: [...tensor.shape],
      data: () => tensor.read(),
    }));
    return streamSafetensors(tensors, { positions: JSON.stringify(this.positions) });
  }

  /** A cache from a checkpoint that `save` wrote. */
  static async load(gpu: Gpu, checkpoint: Checkpoint): Promise<ActivationCache> {
    s.readArgument(GPU, gpu, "ActivationCache.load", "gpu");
    s.readArgument(CHECKPOINT, checkpoint, "ActivationCache.load", "checkpoint");
    const positions = parsePositions(checkpoint);
    const tensors = new Map<string, Tensor>();
    try {
      for (const info of checkpoint.tensors.values()) {
        const values = toFloat32(await checkpoint.read(info.name), info.dtype);
        tensors.set(info.name, gpu.tensorFrom(values, info.shape, info.name));
      }
    } catch (error) {
      for (const tensor of tensors.values()) tensor.destroy();
      throw error;
    }
    return new ActivationCache(gpu, tensors, positions);
  }

  /** @throws HookError `hook/cache-destroyed` */
  assertAlive(): void {
    if (this.#destroyed)
      throw new HookError(
        "hook/cache-destroyed",
        "This activation cache was destroyed. Capture again, or destroy it later.",
      );
  }

  /** Frees the GPU memory. Calling it twice is allowed. */
  destroy(): void {
    if (this.#destroyed) return;
    this.#destroyed = true;
    for (const tensor of this.tensors.values()) tensor.destroy();
  }

  /** The end of a `using` block. */
  [Symbol.dispose](): void {
    this.destroy();
  }
}

const GPU = s.instance("a Gpu", Gpu);

function parsePositions(checkpoint: Checkpoint): number[][] {
  const parsed = parseJson(checkpoint.metadata.positions ?? "");
  const isPositions = (list: unknown) => Array.isArray(list) && list.every(Number.isInteger);
  if (parsed.kind === "value" && Array.isArray(parsed.value) && parsed.value.every(isPositions))
    return parsed.value as number[][];
  throw new HookError(
    "hook/not-a-cache",
    `${checkpoint.label} was not written by ActivationCache.save(): its metadata lists no positions.`,
  );
}

function range(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index);
}

function summary(positions: readonly number[]): string {
  if (positions.length <= 8) return positions.join(", ") || "none";
  return `${positions.slice(0, 3).join(", ")} … ${positions.at(-1)}`;
}
