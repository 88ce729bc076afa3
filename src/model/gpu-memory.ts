/**
 * How much GPU memory a model will take, from headers alone: the arithmetic of `load-weights.ts` without the
 * loading. Matrices keep their type, with rows padded to four elements, and matrices that lie stacked share one type;
 * vectors are f32. A test holds this against the bytes that a loaded model really has.
 */
import type { Checkpoint, TensorInfo } from "../checkpoint/index.ts";
import { CheckpointError } from "../errors.ts";
import { resolveEmbedding, resolveTensorName, resolveUnembed, resolveUnembedBias } from "./families/resolve.ts";
import type { ModelSpec, WeightName } from "./spec.ts";
import { commonStorage } from "./storage.ts";
import { isPerBlock, tensorShape, weightShape, weightUses } from "./weight-shapes.ts";
import { ELEMENT_BYTES } from "./weights.ts";

export interface GpuMemory {
  /** Bytes of all weights. */
  weights: number;
  /** Bytes of keys and values, for each token of each sequence. */
  cachePerToken: number;
  /** Tensors of the checkpoint that the model does not use. */
  unusedTensors: string[];
}

/** Weights that lie in one buffer, end to end. */
const STACKS: readonly (readonly WeightName[])[] = [
  ["attn.W_Q", "attn.W_K", "attn.W_V"],
  ["attn.b_Q", "attn.b_K", "attn.b_V"],
];

/** A weight and the tensor it is cut from; without one it is absent and counts as zeros. */
interface Found {
  name: WeightName;
  info: TensorInfo | undefined;
}

/**
 * What loading would put on the GPU.
 * @throws CheckpointError `checkpoint/missing-tensor`, `checkpoint/shape` when spec and tensors do not fit together.
 */
export function gpuMemory(spec: ModelSpec, checkpoint: Checkpoint): GpuMemory {
  const unused = new Set(checkpoint.tensors.keys());
  let weights = 0;
  for (const stack of stacksOf(spec)) {
    const layers = isPerBlock(stack[0] as WeightName) ? spec.nLayers : 1;
    for (let layer = 0; layer < layers; layer++) {
      const found = stack.map((name): Found => ({ name, info: findTensor(spec, checkpoint, name, layer) }));
      for (const { info } of found) if (info) unused.delete(info.name);
      weights += bufferBytes(spec, found, layer);
    }
  }
  const cachePerToken = spec.nLayers * 2 * spec.nKvHeads * spec.dHead * 4;
  return { weights, cachePerToken, unusedTensors: [...unused] };
}

function stacksOf(spec: ModelSpec): WeightName[][] {
  const used = new Set(weightUses(spec).keys());
  const stacked = STACKS.map((stack) => stack.filter((name) => used.delete(name))).filter((stack) => stack.length > 0);
  return [...stacked, ...[...used].map((name) => [name])];
}

function bufferBytes(spec: ModelSpec, found: readonly Found[], layer: number): number {
  if (found.every(({ info }) => info === undefined)) return 0;
  const shapes = found.map(({ name, info }) =>
    name === "embed.W_pos" && info ? info.shape : weightShape(spec, name, layer),
  );
  const rows = shapes.reduce((sum, [out]) => sum + (out as number), 0);
  const isVector = found.every(({ name }) => !name.includes("W_"));
  if (isVector) return Math.max(16, 4 * shapes.reduce((sum, shape) => sum + shape.reduce((a, b) => a * b, 1), 0));
  const width = shapes[0]?.[1] as number;
  const dtypes = found.flatMap(({ info }) => info?.dtype ?? []);
  const isConv1d =
    new Set(dtypes).size === 1 && found.every(({ name }) => isPerBlock(name) && spec.weights[name]?.transpose);
  const elements = isConv1d ? width * Math.ceil(rows / 4) * 4 : rows * Math.ceil(width / 4) * 4;
  const storage = found[0]?.name === "embed.W_pos" ? "f32" : commonStorage(dtypes);
  return Math.max(16, elements * ELEMENT_BYTES[storage]);
}

/** The tensor a weight is cut from; undefined for an optional one that the checkpoint lacks. */
function findTensor(spec: ModelSpec, checkpoint: Checkpoint, name: WeightName, layer: number): TensorInfo | undefined {
  const source = spec.weights[name];
  if (!source) return undefined;
  const { tensors, label } = checkpoint;
  const wanted = source.tensor.replaceAll("{i}", String(layer));
  const info = tensors.get(resolveName(spec, name, wanted, (candidate) => tensors.has(candidate)) ?? "");
  if (info) {
    checkShape(spec, name, info, layer);
    return info;
  }
  if (source.optional || weightUses(spec).get(name) !== "required") return undefined;
  const remedy = "The config may belong to another checkpoint, or the download is incomplete.";
  throw new CheckpointError("checkpoint/missing-tensor", `${label}: tensor ${wanted} is missing. ${remedy}`);
}

/** Heads and embeddings go by several names; every other tensor only by several prefixes. */
function resolveName(
  spec: ModelSpec,
  name: WeightName,
  wanted: string,
  has: (name: string) => boolean,
): string | undefined {
  if (name === "embed.W_E") return resolveEmbedding(spec, has);
  if (name === "unembed.W_U") return resolveUnembed(spec, has);
  if (name === "unembed.b_U") return resolveUnembedBias(spec, has);
  return resolveTensorName(wanted, has);
}

/** The loader lets a learned position table have more rows than the context, and vectors extra axes of one. */
function checkShape(spec: ModelSpec, name: WeightName, { file, name: tensor, shape }: TensorInfo, layer: number): void {
  const expected = tensorShape(spec, name, layer);
  const isVector = !name.includes("W_");
  const product = (sizes: readonly number[]) => sizes.reduce((a, b) => a * b, 1);
  const fits = isVector
    ? product(shape) === product(expected)
    : shape.length === 2 && shape[1] === expected[1] && (name === "embed.W_pos" || shape[0] === expected[0]);
  if (fits) return;
  throw new CheckpointError(
    "checkpoint/shape",
    `${file}: tensor ${tensor} has shape [${shape.join(", ")}]; config.json makes it [${expected.join(", ")}]. Config and weights must belong together.`,
  );
}
