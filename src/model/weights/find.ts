/**
 * Finds the tensor of a checkpoint that holds each weight, under any of its names. Its type must be one to compute with, and
 * its shape the one that follows from the config.
 */
import { isBlockType, type TensorType } from "../../checkpoint/blocks.ts";
import { type Checkpoint, isFloat, type TensorInfo } from "../../checkpoint/index.ts";
import { CheckpointError } from "../../errors.ts";
import { nearestNames } from "../../schema/nearest.ts";
import { resolveWeight, tensorOf } from "../families/resolve.ts";
import type { ModelSpec, TensorSource } from "../spec.ts";
import { expertsIn, WEIGHTS, type WeightName, weightShape } from "./table.ts";

/** A tensor that can be computed with. */
export type FloatTensor = TensorInfo & { readonly dtype: TensorType };

/**
 * The tensor of a weight; undefined when the spec has none, or marks it optional and the checkpoint lacks it.
 * @throws CheckpointError `checkpoint/missing-tensor`, `checkpoint/index` where an index promised it, `checkpoint/dtype`,
 *   `checkpoint/shape`
 */
export function findWeight(
  spec: ModelSpec,
  checkpoint: Checkpoint,
  name: WeightName,
  layer = 0,
  member = 0,
): FloatTensor | undefined {
  const source = spec.weights[name];
  if (source === undefined) return undefined;
  const found = resolveWeight(spec, name, layer, (candidate) => checkpoint.tensors.has(candidate), member);
  if (found === undefined && source.optional) return undefined;
  if (found === undefined) throw missing(spec, checkpoint, name, layer, member);
  const info = checkpoint.tensors.get(found) as TensorInfo;
  checkShape(spec, name, layer, info);
  return asFloat(info);
}

function asFloat(info: TensorInfo): FloatTensor {
  if (isFloat(info.dtype) || isBlockType(info.dtype)) return info as FloatTensor;
  throw new CheckpointError(
    "checkpoint/dtype",
    `${info.file}: tensor ${info.name} is ${info.dtype}; weights must be a float type. Convert it to F32, F16 or BF16; if it holds codes of a quantized weight, dequantize the model first.`,
  );
}

function missing(
  spec: ModelSpec,
  { label, tensors, absent }: Checkpoint,
  name: WeightName,
  layer: number,
  member: number,
): CheckpointError {
  const tensor = tensorOf(spec.weights[name] as TensorSource, layer, member);
  const promised = resolveWeight(spec, name, layer, (candidate) => absent.has(candidate), member);
  if (promised !== undefined) {
    const message = `${label}: the index says tensor ${promised} is in ${absent.get(promised)}, which lacks it, and the model needs it.`;
    return new CheckpointError(
      "checkpoint/index",
      `${message} Index and shards must belong together: take all from one download.`,
    );
  }
  const remedy =
    name === "unembed.W_U"
      ? "The config does not tie the head to the embedding: if the model's head is its embedding, set tie_word_embeddings to true in config.json (unembed.tied in a spec); otherwise the download is incomplete: take all files from one."
      : `Nearest: ${nearestNames(tensor, tensors.keys(), 3).join(", ")}. The config may belong to another checkpoint, or the download is incomplete: take all files from one download.`;
  return new CheckpointError("checkpoint/missing-tensor", `${label}: tensor ${tensor} is missing. ${remedy}`);
}

/** The shape must be the config's; biases and norms may have further axes of one. */
function checkShape(spec: ModelSpec, name: WeightName, layer: number, info: TensorInfo): void {
  const { file, name: tensor, shape } = info;
  const expected = tensorShape(spec, name, layer, info.isTurned);
  if (WEIGHTS[name].form === "vector" ? count(shape) === count(expected) : isSame(shape, expected)) return;
  const turned = isSame(shape.toReversed(), expected)
    ? " It looks transposed: store it the other way round, or correct the config."
    : "";
  throw new CheckpointError(
    "checkpoint/shape",
    `${file}: tensor ${tensor} has shape [${shape.join(", ")}]; config.json gives it [${expected.join(", ")}].${turned || " Config and weights must belong together: take both from one download."}`,
  );
}

/** How many tensors, or parts of one, a weight consists of: one for each expert, or each head where those have names. */
export function membersOf(spec: ModelSpec, name: WeightName, layer = 0): number {
  if (spec.weights[name]?.tensor.includes("{h}")) return weightShape(spec, name, layer)[0] as number;
  return expertsIn(spec, name) || 1;
}

/** Shape of the checkpoint tensor a weight is cut from: before `rows` are taken, and as stored (`transpose`, unless `isTurned`). */
export function tensorShape(spec: ModelSpec, name: WeightName, layer = 0, isTurned = false): number[] {
  const [all = 0, ...inner] = weightShape(spec, name, layer);
  const { rows, transpose, tensor = "" } = spec.weights[name] ?? {};
  if (tensor.includes("{h}")) return inner; // of one head
  const experts = expertsIn(spec, name);
  const own = [rows ? rows.groups * rows.groupSize : all / (experts || 1), ...inner];
  const whole = transpose && !isTurned && own.length === 2 ? own.toReversed() : own;
  return experts > 0 && !tensor.includes("{e}") ? [experts, ...whole] : whole;
}

function count(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

function isSame(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((size, axis) => size === b[axis]);
}
