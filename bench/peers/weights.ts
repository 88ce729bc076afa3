/**
 * One set of random weights for every side: a safetensors file in memory with the names and layouts of GPT-2's checkpoint.
 * superlens loads the file, ONNX refers to its byte ranges, jax-js gets views of it. The seed is fixed, so every host makes
 * the same file. Sizes are those of a fresh GPT-2 (matrices uniform with a deviation of 0.02), with norms and biases that
 * differ from 1 and 0, so that a wrong or missing one shows in the logits.
 */
import { type CheckpointSource, parseHeader, writeSafetensors } from "../../src/index.ts";
import type { Gpt2Config } from "./shapes.ts";

export interface Weight {
  shape: readonly number[];
  data: Float32Array<ArrayBuffer>;
  /** Where `data` lies in the file. */
  byteStart: number;
}

/** A safetensors file in memory. */
export interface TensorFile {
  file: Uint8Array<ArrayBuffer>;
  byName: ReadonlyMap<string, Weight>;
}

export interface Weights extends TensorFile {
  config: Gpt2Config;
}

/** The name of the file, for ONNX. */
export const WEIGHTS_FILE = "model.safetensors";

const MATRIX = { centre: 0, halfWidth: 0.035 };
const SCALE = { centre: 1, halfWidth: 0.1 };
const BIAS = { centre: 0, halfWidth: 0.05 };

export function makeWeights(config: Gpt2Config): Weights {
  const random = uniform(20260101);
  const entries = tensorShapes(config).map(({ name, shape, values }) => {
    const data = new Float32Array(shape.reduce((product, size) => product * size, 1));
    for (let i = 0; i < data.length; i++) data[i] = values.centre + values.halfWidth * random();
    return { name, dtype: "F32" as const, shape, data };
  });
  return { config, ...readTensors(writeSafetensors(entries) as Uint8Array<ArrayBuffer>) };
}

function tensorShapes(config: Gpt2Config): { name: string; shape: number[]; values: typeof MATRIX }[] {
  const { n_embd: width, n_layer, n_positions, vocab_size } = config;
  const norm = (name: string) => [
    { name: `${name}.weight`, shape: [width], values: SCALE },
    { name: `${name}.bias`, shape: [width], values: BIAS },
  ];
  const linear = (name: string, inputs: number, outputs: number) => [
    { name: `${name}.weight`, shape: [inputs, outputs], values: MATRIX },
    { name: `${name}.bias`, shape: [outputs], values: BIAS },
  ];
  const block = (layer: number) => {
    const prefix = `transformer.h.${layer}`;
    return [
      ...norm(`${prefix}.ln_1`),
      ...linear(`${prefix}.attn.c_attn`, width, 3 * width),
      ...linear(`${prefix}.attn.c_proj`, width, width),
      ...norm(`${prefix}.ln_2`),
      ...linear(`${prefix}.mlp.c_fc`, width, 4 * width),
      ...linear(`${prefix}.mlp.c_proj`, 4 * width, width),
    ];
  };
  return [
    { name: "transformer.wte.weight", shape: [vocab_size, width], values: MATRIX },
    { name: "transformer.wpe.weight", shape: [n_positions, width], values: MATRIX },
    ...Array.from({ length: n_layer }, (_, layer) => block(layer)).flat(),
    ...norm("transformer.ln_f"),
  ];
}

/** Numbers in [-1, 1) from a linear congruential generator, which is random enough for weights. */
function uniform(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  };
}

/** Views of the tensors in a file. */
export function readTensors(file: Uint8Array<ArrayBuffer>): TensorFile {
  const { tensors } = parseHeader(file, file.length, WEIGHTS_FILE);
  const views = tensors.map(({ name, shape, byteStart, byteEnd }): [string, Weight] => {
    const data = new Float32Array(file.buffer, file.byteOffset + byteStart, (byteEnd - byteStart) / 4);
    return [name, { shape, data, byteStart }];
  });
  return { file, byName: new Map(views) };
}

/** The weights and their config as a folder that superlens can load. */
export function checkpointSource({ config, file }: Weights): CheckpointSource {
  const files = new Map([
    ["config.json", new TextEncoder().encode(JSON.stringify(config))],
    [WEIGHTS_FILE, file],
  ]);
  const bytes = (name: string) => files.get(name) ?? new Uint8Array();
  return {
    label: "random weights",
    exists: async (name) => files.has(name),
    size: async (name) => bytes(name).length,
    read: async (name, start, end) => bytes(name).slice(start, end),
    readAll: async (name) => bytes(name).slice(),
  };
}

/** A weight that must be there. */
export function weight({ byName }: TensorFile, name: string): Weight {
  const found = byName.get(name);
  if (!found) throw new Error(`There is no weight ${name}.`);
  return found;
}
