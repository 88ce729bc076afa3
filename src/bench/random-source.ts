/**
 * A checkpoint of random weights that was never written: a source whose `model.safetensors` is computed where it is read.
 *
 * Each number depends on its tensor's name and its place alone, so every host and every order of reading gives the same
 * model. Matrices keep the size of what goes through them (variance one over their inputs), norms are near 1 and biases
 * are not 0: logits then tell tokens apart, and whatever part a kernel leaves out shows in them.
 */
import {
  type CheckpointSource,
  f32ToBf16,
  f32ToF16,
  type LazyTensorEntry,
  parseHeader,
  streamSafetensors,
} from "../checkpoint/index.ts";
import { checkRange, notFound } from "../checkpoint/source.ts";
import { fnv1a } from "../fnv1a.ts";
import { ELEMENT_BYTES, FLOAT_STORAGES, type FloatStorage } from "../kernels/storage.ts";

import { specFromConfig } from "../model/families/index.ts";
import type { ModelSpec } from "../model/spec.ts";
import { type NeededTensor, neededTensors } from "../model/weights/needed.ts";
import * as s from "../schema/schema.ts";

const WEIGHTS_FILE = "model.safetensors";
const CONFIG_FILE = "config.json";

/** Values of a tensor: uniform in `centre` ± `halfWidth`. */
interface Range {
  centre: number;
  halfWidth: number;
}

const SCALE: Range = { centre: 1, halfWidth: 0.1 };
const BIAS: Range = { centre: 0, halfWidth: 0.05 };

/** How a storage type is called in safetensors, and what writes it. */
const FORMATS = {
  f32: { dtype: "F32", encode: (values: Float32Array) => values },
  f16: { dtype: "F16", encode: f32ToF16 },
  bf16: { dtype: "BF16", encode: f32ToBf16 },
} as const;

const CONFIG = s.simple<object>("an object, as config.json has it", s.isRecord);

/** A tensor in the file that is not there. */
interface RandomTensor extends Range {
  storage: FloatStorage;
  seed: number;
  byteStart: number;
  byteEnd: number;
}

/** A model folder with `config.json` and weights that the config's shape calls for. */
export class RandomSource implements CheckpointSource {
  private constructor(
    readonly label: string,
    private readonly config: Uint8Array,
    private readonly header: Uint8Array,
    private readonly tensors: readonly RandomTensor[],
  ) {}

  /** A checkpoint of random weights for a config, made as it is read. */
  static async create(config: object, label = "random model", storage: FloatStorage = "f32"): Promise<RandomSource> {
    const at = (schema: s.Schema, value: unknown, name: string) =>
      s.readArgument(schema, value, "RandomSource.create", name);
    at(CONFIG, config, "config");
    at(s.text, label, "label");
    at(s.oneOf(...FLOAT_STORAGES), storage, "storage");
    const spec = specFromConfig(config, label);
    const ranges = tensorRanges(spec);
    const entries: LazyTensorEntry[] = [...ranges].map(([name, { shape }]) => ({
      name,
      dtype: FORMATS[storage].dtype,
      shape,
      data: () => new Uint8Array(),
    }));
    const header = (await streamSafetensors(entries).next()).value as Uint8Array;
    const byteLength = entries.reduce(
      (sum, { shape }) => sum + ELEMENT_BYTES[storage] * elements(shape),
      header.length,
    );
    const { tensors } = parseHeader(header, byteLength, label);
    const random = tensors.map(({ name, byteStart, byteEnd }) => {
      const { centre, halfWidth } = ranges.get(name) as Range;
      return { centre, halfWidth, storage, seed: fnv1a(name), byteStart, byteEnd };
    });
    return new RandomSource(label, new TextEncoder().encode(JSON.stringify(config)), header, random);
  }

  async list(): Promise<string[]> {
    return [CONFIG_FILE, WEIGHTS_FILE];
  }

  async exists(file: string): Promise<boolean> {
    return file === CONFIG_FILE || file === WEIGHTS_FILE;
  }

  async size(file: string): Promise<number> {
    s.readArgument(s.text, file, "RandomSource.size", "file");
    if (file === CONFIG_FILE) return this.config.length;
    if (file === WEIGHTS_FILE) return this.tensors.at(-1)?.byteEnd ?? this.header.length;
    throw notFound(file, this.label);
  }

  async read(file: string, start: number, end: number): Promise<Uint8Array> {
    s.readArgument(s.whole, start, "RandomSource.read", "start");
    s.readArgument(s.whole, end, "RandomSource.read", "end");
    checkRange(file, start, end, await this.size(file));
    if (file === CONFIG_FILE) return this.config.slice(start, end);
    const bytes = new Uint8Array(end - start);
    bytes.set(this.header.subarray(start, end));
    for (const tensor of this.tensors) {
      const first = Math.max(start, tensor.byteStart);
      const last = Math.min(end, tensor.byteEnd);
      if (first < last)
        bytes.set(randomBytes(tensor, first - tensor.byteStart, last - tensor.byteStart), first - start);
    }
    return bytes;
  }

  async readAll(file: string): Promise<Uint8Array> {
    return this.read(file, 0, await this.size(file));
  }
}

const elements = (shape: readonly number[]) => shape.reduce((product, size) => product * size, 1);

/** Shape and values of every tensor. */
function tensorRanges(spec: ModelSpec): Map<string, Range & { shape: readonly number[] }> {
  return new Map([...neededTensors(spec)].map(([name, tensor]) => [name, { ...rangeOf(tensor), shape: tensor.shape }]));
}

function rangeOf({ weight, inputs }: NeededTensor): Range {
  if (inputs !== undefined) return { centre: 0, halfWidth: Math.sqrt(3 / inputs) };
  return weight.endsWith(".w") ? SCALE : BIAS;
}

/** Bytes `start` to `end` of a tensor. */
function randomBytes({ storage, seed, centre, halfWidth }: RandomTensor, start: number, end: number): Uint8Array {
  const size = ELEMENT_BYTES[storage];
  const first = Math.floor(start / size);
  const values = new Float32Array(Math.ceil(end / size) - first);
  const scale = halfWidth / 2 ** 31;
  for (let i = 0; i < values.length; i++) values[i] = centre + scale * mixed(seed + first + i);
  return new Uint8Array(FORMATS[storage].encode(values).buffer, start - size * first, end - start);
}

/** A number's bits, well mixed (the finaliser of MurmurHash3), as a signed integer of 32 bits. */
function mixed(value: number): number {
  let bits = Math.imul(value, 0x9e3779b1);
  bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b);
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
  return bits ^ (bits >>> 16);
}
