/**
 * Config against file: tensors that nobody asked for, a head that is stored though the config ties it, shards that hold more
 * or less than their index says. The logits are transformers' (5.18, float32) for the same files, and what is left out is told.
 */
import { readFile } from "node:fs/promises";
import { beforeAll, describe, expect, it, vi } from "vitest";
import {
  type Dtype,
  FilesSource,
  f32ToBf16,
  f32ToF16,
  type TensorEntry,
  writeSafetensors,
} from "../../src/checkpoint/index.ts";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { loadParts, openModelSource, readSpec } from "../../src/model/load.ts";
import { Model } from "../../src/model/model.ts";
import { fitCheckpoint } from "../../src/model/weights/fit.ts";
import { gpuMemory } from "../../src/model/weights/residency.ts";
import { weightBuffers } from "../../src/model/weights/weights.ts";
import { buildSuperposition } from "../../src/theory/build.ts";
import { inMemory } from "../../src/theory/model-folder.ts";
import { randomTasks, seeded } from "../../src/theory/verify/random-tasks.ts";
import {
  type FixtureFiles,
  fixtureFiles,
  golden,
  readLogits,
  sourceOf,
  tensorsOf,
  valuesOf,
} from "../support/fixtures.ts";
import { gpuWithLimits, testGpu } from "../support/gpu.ts";
import { relativeError } from "../support/numbers.ts";

const ROOT = new URL("../fixtures/checkpoints/", import.meta.url);
const HEAD = "lm_head.weight";
const EMBEDDING = "model.embed_tokens.weight";

let gpu: Gpu;
beforeAll(async () => {
  gpu = await testGpu();
});

interface Stored extends FixtureFiles {
  ids: number[];
  logits: Float32Array;
}

/** A checkpoint that stores head and embedding, differing, under a config that ties them; and its logits. */
async function stored(name: "llama_tied_head_differs" | "gpt2_tied_head_differs"): Promise<Stored> {
  const json = async (file: string) => JSON.parse(await readFile(new URL(`${name}/${file}`, ROOT), "utf8"));
  const { ids, logits } = await json("oracle.json");
  const tensors = tensorsOf(await readFile(new URL(`${name}/model.safetensors`, ROOT)));
  return { config: await json("config.json"), tensors, ids, logits: Float32Array.from(logits.flat()) };
}

const untied = (files: FixtureFiles): FixtureFiles => ({
  ...files,
  config: { ...files.config, tie_word_embeddings: false },
});

const adding =
  (...extra: TensorEntry[]) =>
  (files: FixtureFiles): FixtureFiles => ({ ...untied(files), tensors: [...files.tensors, ...extra] });

const f32 = (name: string, shape: number[]): TensorEntry => {
  const length = shape.reduce((a, b) => a * b, 1);
  return { name, dtype: "F32", shape, data: new Float32Array(length).fill(0.5) };
};

/** Files of a checkpoint in shards: their tensors, and what the index says besides. */
function sharded(config: unknown, shards: TensorEntry[][], alsoListed: Record<string, number> = {}): FilesSource {
  const file = (index: number) => `model-${index}.safetensors`;
  const listed = shards.flatMap((tensors, index) => tensors.map(({ name }) => [name, file(index)]));
  const also = Object.entries(alsoListed).map(([name, index]) => [name, file(index)]);
  const weight_map = Object.fromEntries([...also, ...listed]);
  const blobs = shards.map((tensors, index) => ({
    name: file(index),
    blob: new Blob([writeSafetensors(tensors) as BlobPart]),
  }));
  const json = (name: string, value: unknown) => ({ name, blob: new Blob([JSON.stringify(value)]) });
  return new FilesSource([json("config.json", config), json("model.safetensors.index.json", { weight_map }), ...blobs]);
}

/** The files in one file, in whose header a dtype is replaced by one of the same size. */
function relabelled(files: FixtureFiles, from: string, to: string): FilesSource {
  const text = Buffer.from(writeSafetensors(files.tensors)).toString("latin1").replace(`"${from}"`, `"${to}"`);
  const blob = (name: string, data: BlobPart) => ({ name, blob: new Blob([data]) });
  return new FilesSource([
    blob("config.json", JSON.stringify(files.config)),
    blob("model.safetensors", Buffer.from(text, "latin1")),
  ]);
}

async function load(source: FilesSource, on = gpu): Promise<{ model: Model; notices: string[] }> {
  const notices: string[] = [];
  const parts = await loadParts(source, { gpu: on, onNotice: (message) => notices.push(message) });
  return { model: new Model(parts), notices };
}

/** Spec and memory without a GPU, as `superlens inspect` has them. */
async function inspect(source: FilesSource) {
  const checkpoint = await openModelSource(source);
  const { spec, unused } = await fitCheckpoint((await readSpec(checkpoint)).spec, checkpoint);
  return { spec, unused, memory: gpuMemory(spec, checkpoint) };
}

const half = (tensors: TensorEntry[]): [TensorEntry[], TensorEntry[]] => [tensors.slice(0, 9), tensors.slice(9)];

describe("runs as in transformers, and tells what it leaves out", () => {
  const DIFFERS =
    /lm_head\.weight differs from model\.embed_tokens\.weight\. Like transformers, superlens uses the stored head/;
  const cases: [name: string, source: (files: FixtureFiles) => FilesSource, notices: RegExp[]][] = [
    ["a head that is stored and differs, though tied by the config", (files) => sourceOf(files), [DIFFERS]],
    ["the same in shards", (files) => sourceOf(files, 3), [DIFFERS]],
    [
      "the same under the names of a multimodal checkpoint",
      multimodal,
      [/language_model\.lm_head\.weight differs from/],
    ],
    ["a head of its own", (files) => sourceOf(untied(files)), []],
    [
      "a bias that the config does not give to a module",
      (files) => sourceOf(adding(f32("model.layers.0.self_attn.q_proj.bias", [32]))(files)),
      [/no such parameter: model\.layers\.0\.self_attn\.q_proj\.bias\./],
    ],
    [
      "layers beyond those of the config",
      (files) =>
        sourceOf(
          adding(
            f32("model.layers.2.mlp.up_proj.weight", [48, 32]),
            f32("model.layers.3.mlp.up_proj.weight", [48, 32]),
          )(files),
        ),
      [/no part of the model uses model\.layers\.\*\.mlp\.up_proj\.weight \(2\)/],
    ],
    [
      "scales beside weights that are no codes",
      (files) => sourceOf(adding(f32("model.layers.0.mlp.up_proj.weight_scale", []))(files)),
      [/no such parameter: model\.layers\.0\.mlp\.up_proj\.weight_scale/],
    ],
    [
      "tensors that are known to be of no consequence",
      (files) =>
        sourceOf(
          adding(
            f32("model.layers.0.self_attn.rotary_emb.inv_freq", [4]),
            f32("model.layers.0.self_attn.bias", [1, 1, 8, 8]),
            f32("model.layers.0.self_attn.masked_bias", []),
            f32("vision_tower.encoder.layers.0.mlp.fc1.weight", [4, 4]),
            f32("multi_modal_projector.linear_1.weight", [4, 4]),
          )(files),
        ),
      [],
    ],
    [
      "a bias by the name of a mask",
      (files) => sourceOf(adding(f32("model.layers.0.self_attn.bias", [32]))(files)),
      [/no part of the model uses model\.layers\.0\.self_attn\.bias/],
    ],
    [
      "a tensor of a type that is not known",
      (files) =>
        relabelled(
          adding({ name: "freqs_cis", dtype: "F64", shape: [4], data: new Float64Array(4) })(files),
          "F64",
          "C64",
        ),
      [/no part of the model uses freqs_cis/],
    ],
    [
      "an index that lists tensors which no shard holds",
      ({ config, tensors }) =>
        sharded({ ...config, tie_word_embeddings: false }, half(tensors), { "model.rotary.inv_freq": 0 }),
      [/the index lists model\.rotary\.inv_freq, which no shard holds/],
    ],
    [
      "a tensor that two shards hold alike",
      ({ config, tensors }) => {
        const [first, second] = half(tensors);
        return sharded({ ...config, tie_word_embeddings: false }, [first, [...second, first[0] as TensorEntry]]);
      },
      [/stored twice, with the same values: \S+ in model-\d\.safetensors and model-\d\.safetensors/],
    ],
  ];
  it.each(cases)("%s", async (_, source, notices) => {
    const files = await stored("llama_tied_head_differs");
    const { model, notices: seen } = await load(source(files));
    expect(relativeError(await readLogits(model.forward(files.ids)), files.logits)).toBeLessThan(3e-6);
    model.destroy();
    expect(seen.map((notice, i) => notices[i]?.test(notice) || notice)).toEqual(notices.map(() => true));
    expect((await inspect(source(files))).spec.unembed.tied).toBe(false);
  });

  function multimodal({ config, tensors }: FixtureFiles): FilesSource {
    return sourceOf({
      config,
      tensors: tensors.map((tensor) => ({ ...tensor, name: `language_model.${tensor.name}` })),
    });
  }

  it("a head that differs, where the family ties it by default", async () => {
    const files = await stored("gpt2_tied_head_differs");
    const { tie_word_embeddings: _, ...config } = files.config;
    const { model, notices } = await load(sourceOf({ ...files, config }));
    expect(relativeError(await readLogits(model.forward(files.ids)), files.logits)).toBeLessThan(3e-6);
    model.destroy();
    expect(notices).toEqual([expect.stringContaining("lm_head.weight differs from transformer.wte.weight")]);
  });

  it("a tied head that the index lists and no shard holds", async () => {
    const { config, tensors } = await fixtureFiles("llama");
    const { ids, values } = await golden("llama");
    const { model, notices } = await load(sharded(config, half(tensors), { [HEAD]: 1 }));
    const logits = await readLogits(model.forward(ids));
    model.destroy();
    expect(relativeError(logits, values.get("logits") as Float32Array)).toBeLessThan(3e-6);
    expect(notices).toEqual([expect.stringContaining("the index lists lm_head.weight, which no shard holds")]);
  });

  it("tells the console when nobody else is to be told, and not when it is to be quiet", async () => {
    const warn = vi.spyOn(console, "warn").mockImplementation(() => undefined);
    try {
      const source = async () => sourceOf(await stored("llama_tied_head_differs"));
      new Model(await loadParts(await source(), { gpu, quiet: true })).destroy();
      expect(warn.mock.calls).toEqual([]);
      new Model(await loadParts(await source(), { gpu })).destroy();
      expect(warn.mock.calls).toEqual([
        [expect.stringMatching(/^superlens: changed fixture: .* lm_head\.weight differs/)],
      ]);
    } finally {
      warn.mockRestore();
    }
  });

  it("a constructed model, without a word", async () => {
    const built = buildSuperposition(randomTasks(4, 2, 2, seeded(1), false), { examples: 2, layers: 4 });
    const { model, notices } = await load(inMemory(built));
    model.destroy();
    expect(notices).toEqual([]);
  });
});

describe("a tied head that is stored as well", () => {
  const encoders: Partial<Record<Dtype, (values: Float32Array) => TensorEntry["data"]>> = {
    F16: f32ToF16,
    BF16: f32ToBf16,
    F8_E4M3: (values) => Uint8Array.from(values, (_, i) => i % 120),
  };
  const encode = (dtype: Dtype, names: string[]) => (tensor: TensorEntry) =>
    names.includes(tensor.name)
      ? { ...tensor, dtype, data: encoders[dtype]?.(valuesOf(tensor)) as TensorEntry["data"] }
      : tensor;

  const variants: [name: string, dtype: Dtype, names: string[], limit?: number][] = [
    ["f16", "F16", [HEAD, EMBEDDING]],
    ["bf16, beside an embedding in f32", "BF16", [HEAD]],
    ["f8", "F8_E4M3", [HEAD]],
    ["f16, larger than a binding", "F16", [HEAD, EMBEDDING], 2048],
  ];
  it.each(variants)("%s: as where the config says so", async (_, dtype, names, limit) => {
    const on = limit === undefined ? gpu : await gpuWithLimits({ maxStorageBufferBindingSize: limit });
    const files = await stored("llama_tied_head_differs");
    const tensors = files.tensors.map(encode(dtype, names));
    const logitsOf = async (config: FixtureFiles) => {
      const { model } = await load(sourceOf(config), on);
      const logits = await readLogits(model.forward(files.ids, { logits: "last" }));
      const bytes = [...weightBuffers(model.engine.weights)].reduce((sum, { size }) => sum + size, 0);
      const parts = model.engine.weights.W_U.parts.length;
      model.destroy();
      return { logits, bytes, parts };
    };
    const source = { ...files, tensors };
    const found = await logitsOf(source);
    expect(found).toEqual(await logitsOf(untied(source)));
    expect(found.bytes).toBe((await inspect(sourceOf(source))).memory.weights);
    if (limit !== undefined) expect(found.parts).toBeGreaterThan(1);
  });

  it("equal to the embedding: one matrix, and not a word", async () => {
    const { config, tensors } = await fixtureFiles("llama");
    const { ids, values } = await golden("llama");
    const embedding = tensors.find(({ name }) => name === EMBEDDING) as TensorEntry;
    const source = () => sourceOf({ config, tensors: [...tensors, { ...embedding, name: HEAD }] }, 5);
    const { model, notices } = await load(source());
    const logits = await readLogits(model.forward(ids));
    expect(relativeError(logits, values.get("logits") as Float32Array)).toBeLessThan(3e-6);
    expect(model.engine.weights.W_U).toBe(model.engine.weights.W_E);
    expect(notices).toEqual([]);
    const { spec, unused, memory } = await inspect(source());
    expect(spec.unembed.tied).toBe(true);
    expect(unused).toEqual([{ name: HEAD, reason: expect.stringContaining("equal to the embedding") }]);
    expect(memory).toEqual((await inspect(sourceOf({ config, tensors }))).memory);
    model.destroy();
  });

  it("differing in its last byte alone: a head of its own", async () => {
    const { config, tensors } = await fixtureFiles("llama");
    const embedding = tensors.find(({ name }) => name === EMBEDDING) as TensorEntry;
    const data = Uint8Array.from(embedding.data as Uint8Array);
    data[data.length - 1] = (data.at(-1) as number) ^ 0x80;
    const { spec } = await inspect(sourceOf({ config, tensors: [...tensors, { ...embedding, name: HEAD, data }] }));
    expect(spec.unembed.tied).toBe(false);
  });

  it("in a custom spec", async () => {
    const files = await stored("llama_tied_head_differs");
    const spec = (await readSpec(await openModelSource(sourceOf(files)))).spec;
    const { model, notices } = await load(sourceOf({ ...files, config: { model_type: "custom", spec } }));
    expect(relativeError(await readLogits(model.forward(files.ids)), files.logits)).toBeLessThan(3e-6);
    model.destroy();
    expect(notices).toHaveLength(1);
  });
});
