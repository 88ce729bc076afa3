/** The checked-in fixture models: loading them, and making others of them with changed tensors. */
import { readdirSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import {
  bytesPerElement,
  type Dtype,
  FilesSource,
  parseHeader,
  type TensorEntry,
  toFloat32,
  writeSafetensors,
} from "../../src/checkpoint/index.ts";
import { type LoadOptions, loadParts } from "../../src/model/load.ts";
import type { Logits } from "../../src/model/logits.ts";
import { Model } from "../../src/model/model.ts";
import { testGpu } from "./gpu.ts";
import { integer, seeded } from "./numbers.ts";

const ROOT = fileURLToPath(new URL("../fixtures/families/", import.meta.url));

/** One folder a model; see the families in `src/model/families`. */
export const FAMILIES: readonly string[] = readdirSync(ROOT);

/** Fixtures of further types of models, by the names that functions here take: those with experts. */
export const EXPERT_TYPES: readonly string[] = [
  ...[
    "deepseek_v2",
    "deepseek_v3",
    "dots1",
    "ernie4_5_moe",
    "flex_olmo",
    "glm4_moe",
    "gpt_oss",
    "granitemoe",
    "granitemoeshared",
    "hunyuan_v1_moe",
    "llama4_text",
    "minimax_m2",
  ],
  ...["mixtral", "olmoe", "phimoe", "qwen2_moe", "qwen3_moe"],
].map((name) => `../types/${name}`);

/** A fixture's model on the shared GPU, or on `options.gpu`. The caller destroys it. */
export async function loadFixture(family: string, options: LoadOptions = {}): Promise<Model> {
  return new Model(await loadParts(ROOT + family, { ...options, gpu: options.gpu ?? (await testGpu()) }));
}

/** A fixture's model with settings of its config changed. The caller destroys it. */
export async function loadChanged(
  family: string,
  changes: Record<string, unknown>,
  options: LoadOptions = {},
): Promise<Model> {
  const { config, tensors } = await fixtureFiles(family);
  const source = sourceOf({ config: { ...config, ...changes }, tensors });
  return new Model(await loadParts(source, { ...options, gpu: options.gpu ?? (await testGpu()) }));
}

/** Every tensor of a safetensors file. */
export function tensorsOf(file: Uint8Array): TensorEntry[] {
  const { tensors } = parseHeader(file, file.length, "fixture");
  return tensors.map(({ name, dtype, shape, byteStart, byteEnd }) => ({
    name,
    dtype: dtype as Dtype,
    shape,
    data: file.slice(byteStart, byteEnd),
  }));
}

/** Values of a tensor as f32. */
export function valuesOf({ data, dtype }: TensorEntry): Float32Array {
  return toFloat32(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), dtype);
}

/** A fixture as data: its config and its tensors, to be changed and made a source of. */
export interface FixtureFiles {
  config: Record<string, unknown>;
  tensors: TensorEntry[];
}

export async function fixtureFiles(family: string): Promise<FixtureFiles> {
  const config = JSON.parse(await readFile(`${ROOT}${family}/config.json`, "utf8")) as Record<string, unknown>;
  return { config, tensors: tensorsOf(await readFile(`${ROOT}${family}/model.safetensors`)) };
}

/** What transformers computed for the fixture, by tensor name, and the ids [2, T] it was given. */
export function golden(family: string): Promise<{ ids: number[][]; values: Map<string, Float32Array> }> {
  return goldenIn(ROOT + family);
}

/** The same for a fixture in any folder. */
export async function goldenIn(folder: string): Promise<{ ids: number[][]; values: Map<string, Float32Array> }> {
  const tensors = tensorsOf(await readFile(`${folder}/golden.safetensors`));
  const values = new Map(tensors.map((tensor) => [tensor.name, valuesOf(tensor)]));
  const flat = [...(values.get("input_ids") as Float32Array)];
  return { ids: [flat.slice(0, flat.length / 2), flat.slice(flat.length / 2)], values };
}

/** A source made of a config and tensors, in one file or in shards of `perShard` tensors with an index. */
export function sourceOf({ config, tensors }: FixtureFiles, perShard = Number.POSITIVE_INFINITY): FilesSource {
  const files = new Map<string, Uint8Array | string>([["config.json", JSON.stringify(config)]]);
  if (perShard >= tensors.length) {
    files.set("model.safetensors", writeSafetensors(tensors));
  } else {
    const weightMap: Record<string, string> = {};
    for (let first = 0; first < tensors.length; first += perShard) {
      const shard = tensors.slice(first, first + perShard);
      const name = `model-${first}.safetensors`;
      for (const tensor of shard) weightMap[tensor.name] = name;
      files.set(name, writeSafetensors(shard));
    }
    files.set("model.safetensors.index.json", JSON.stringify({ weight_map: weightMap }));
  }
  const named = [...files].map(([name, content]) => ({ name, blob: new Blob([content as BlobPart]) }));
  return new FilesSource(named, "changed fixture");
}

/** Replaces what `change` returns a tensor for, drops those it returns undefined for. */
export function changeTensors(
  files: FixtureFiles,
  change: (tensor: TensorEntry) => TensorEntry | undefined,
): FixtureFiles {
  return { ...files, tensors: files.tensors.map(change).filter((tensor) => tensor !== undefined) };
}

/** A tensor of values that are already representable in `dtype`'s f32 or wider bytes. */
export function entryOf(name: string, shape: readonly number[], data: Float32Array | Float64Array): TensorEntry {
  const dtype: Dtype = data instanceof Float64Array ? "F64" : "F32";
  const count = shape.reduce((product, size) => product * size, 1);
  if (count * bytesPerElement(dtype) !== data.byteLength)
    throw new Error(`${name}: ${data.length} values for ${shape}`);
  return { name, dtype, shape, data };
}

/** Reads logits and frees them. */
export async function readLogits(logits: Promise<Logits>): Promise<Float32Array> {
  const kept = await logits;
  try {
    return await kept.read();
  } finally {
    kept.destroy();
  }
}

/** `count` random token ids of a model. */
export function randomIds(model: Model, seed: number, count: number): number[] {
  const random = seeded(seed);
  return Array.from({ length: count }, () => integer(random, 0, model.spec.vocabSize - 1));
}
