/**
 * A checkpoint whose weights another tool quantised, as one of weights to compute with: codes, scales and zero points of a weight
 * are one tensor under the weight's name. It is made row by row as it is read.
 */
import { CheckpointError } from "../../errors.ts";
import { readByRows } from "../by-rows.ts";
import type { Checkpoint } from "../checkpoint.ts";
import type { ReadTensor, TensorInfo } from "../tensor-info.ts";
import type { Quantization } from "./config.ts";
import type { Derived, Parts } from "./derived.ts";
import { mxfp4Weight } from "./mxfp4.ts";
import { scaledWeight } from "./scaled.ts";

/**
 * @param isFloat whether a weight, by its name, is f32 though blocks would hold it
 * @throws CheckpointError `checkpoint/quantized` for parts that do not fit together, and codes without scales
 */
export function dequantized(
  checkpoint: Checkpoint,
  quantization: Quantization,
  isFloat: (name: string) => boolean = () => false,
): Checkpoint {
  const { tensors, label } = checkpoint;
  const derived = new Map<string, Derived>();
  const consumed = new Set<string>();
  for (const parts of weightsOf(tensors, quantization)) {
    const weight =
      quantization.layout === "mxfp4" ? mxfp4Weight(parts) : scaledWeight(parts, quantization, isFloat(parts.name));
    derived.set(parts.name, weight);
    for (const part of [parts.codes, parts.scales, parts.zeros]) if (part) consumed.add(part.name);
  }
  const others = [...tensors.values()].filter(({ name }) => !consumed.has(name) && !quantization.idle.test(name));
  refuseCodes(others, quantization, label);
  const all = [...[...derived.values()].map(({ info }) => info), ...others];
  const readStored: ReadTensor = ({ name }, start, end) => checkpoint.read(name, start, end);
  return {
    label,
    tensors: new Map(all.map((info) => [info.name, info])),
    metadata: checkpoint.metadata,
    absent: checkpoint.absent,
    byteLength: checkpoint.byteLength,
    readJson: (file) => checkpoint.readJson(file),
    readText: (file) => checkpoint.readText(file),
    read(name, start = 0, end) {
      const weight = derived.get(name);
      if (!weight) return checkpoint.read(name, start, end);
      const { info, rows } = weight;
      return readByRows(info, rows, start, end ?? info.byteLength, (first, last) =>
        weight.readRows(readStored, first, last),
      );
    },
    close: () => checkpoint.close(),
  };
}

/** The weights that have scales. */
function* weightsOf(tensors: ReadonlyMap<string, TensorInfo>, { suffixes, idle }: Quantization): Generator<Parts> {
  for (const scales of tensors.values()) {
    if (!scales.name.endsWith(suffixes.scales) || idle.test(scales.name)) continue;
    const name = scales.name.slice(0, -suffixes.scales.length);
    const codes = tensors.get(name + suffixes.codes);
    const zeros = suffixes.zeros === undefined ? undefined : tensors.get(name + suffixes.zeros);
    if (codes) yield { name, codes, scales, zeros };
  }
}

/** f8 without a scale would pass for a float, and columns in an order of their own for columns in order. */
function refuseCodes(others: readonly TensorInfo[], { name, suffixes }: Quantization, label: string): void {
  const order = others.find((tensor) => tensor.name.endsWith("weight_g_idx"));
  if (order) {
    const message = `${label}: ${order.name} gives columns an order of their own, which is not read. Take the model that was quantised, or a GGUF file of it.`;
    throw new CheckpointError("checkpoint/quantized", message);
  }
  const codes = others.find(({ dtype }) => dtype.startsWith("F8_"));
  if (!codes) return;
  throw new CheckpointError(
    "checkpoint/quantized",
    `${label}: ${codes.name} is ${codes.dtype}, and there is no ${codes.name}${suffixes.scales}, which ${name} would have. Take all files from one download.`,
  );
}
