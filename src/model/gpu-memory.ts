/**
 * How much GPU memory a model will take, from headers alone: the arithmetic of `load-weights.ts` without the
 * loading. Matrices keep their type, with rows padded to four elements, and matrices that lie stacked share one type;
 * vectors are f32. A test holds this against the bytes that a loaded model really has.
 */
import type { Checkpoint } from "../checkpoint/index.ts";
import { ELEMENT_BYTES } from "../kernels/matrix.ts";
import type { ModelSpec, WeightName } from "./spec.ts";
import { commonStorage } from "./storage.ts";
import { isPerBlock, weightShape, weightUses } from "./weight-shapes.ts";
import { type FloatTensor, findWeight, isVector } from "./weight-tensors.ts";

export interface GpuMemory {
  /** Bytes of all weights. */
  weights: number;
  /** Bytes of keys and values, for each token of each sequence. */
  cachePerToken: number;
}

/** Weights that lie in one buffer, end to end. */
const STACKS: readonly (readonly WeightName[])[] = [
  ["attn.W_Q", "attn.W_K", "attn.W_V"],
  ["attn.b_Q", "attn.b_K", "attn.b_V"],
];

/** A weight and the tensor it is cut from; without one it is absent and counts as zeros. */
interface Found {
  name: WeightName;
  info: FloatTensor | undefined;
}

/**
 * What loading would put on the GPU. The spec is the one that `fitCheckpoint` returns.
 * @throws CheckpointError what `findWeight` throws when spec and tensors do not fit together
 */
export function gpuMemory(spec: ModelSpec, checkpoint: Checkpoint): GpuMemory {
  let weights = 0;
  for (const stack of stacksOf(spec)) {
    const layers = isPerBlock(stack[0] as WeightName) ? spec.nLayers : 1;
    for (let layer = 0; layer < layers; layer++) {
      const found = stack.map((name): Found => ({ name, info: findWeight(spec, checkpoint, name, layer) }));
      weights += bufferBytes(spec, found, layer);
    }
  }
  const cachePerToken = spec.nLayers * 2 * spec.nKvHeads * spec.dHead * 4;
  return { weights, cachePerToken };
}

function stacksOf(spec: ModelSpec): WeightName[][] {
  const used = new Set(weightUses(spec).keys());
  const stacked = STACKS.map((stack) => stack.filter((name) => used.delete(name))).filter((stack) => stack.length > 0);
  return [...stacked, ...[...used].map((name) => [name])];
}

function bufferBytes(spec: ModelSpec, found: readonly Found[], layer: number): number {
  if (found.every(({ info }) => info === undefined)) return 0;
  const shapes = found.map(({ name }) => weightShape(spec, name, layer));
  const rows = shapes.reduce((sum, [out]) => sum + (out as number), 0);
  if (found.every(({ name }) => isVector(name)))
    return Math.max(16, 4 * shapes.reduce((sum, shape) => sum + shape.reduce((a, b) => a * b, 1), 0));
  const width = shapes[0]?.[1] as number;
  const dtypes = found.flatMap(({ info }) => info?.dtype ?? []);
  const isConv1d =
    new Set(dtypes).size === 1 && found.every(({ name }) => isPerBlock(name) && spec.weights[name]?.transpose);
  const elements = isConv1d ? width * Math.ceil(rows / 4) * 4 : rows * Math.ceil(width / 4) * 4;
  const storage = found[0]?.name === "embed.W_pos" ? "f32" : commonStorage(dtypes);
  return Math.max(16, elements * ELEMENT_BYTES[storage]);
}
