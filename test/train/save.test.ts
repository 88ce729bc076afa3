/** A model that is saved is an ordinary folder: the family's tensors, whatever they were stored as, and a tokenizer's files. */
import { readFile } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { FilesSource, MemoryStore } from "../../src/checkpoint/index.ts";
import { HookedModel, loadModel } from "../../src/hooks/index.ts";
import { loadParts } from "../../src/model/load.ts";
import { Model } from "../../src/model/model.ts";
import { gpt2Files } from "../../src/tokenizer/gpt2-files.ts";
import { loadTokenizer } from "../../src/tokenizer/index.ts";
import { saveModel } from "../../src/train/index.ts";
import { converted, expertSettings } from "../checkpoint/gguf/convert.ts";
import { byteLevelPairs } from "../checkpoint/gguf/vocabulary.ts";
import { type FixtureFiles, fixtureFiles, sourceOf, tensorsOf, valuesOf } from "../support/fixtures.ts";
import { testGpu } from "../support/gpu.ts";
import { type Expected, readFixture } from "../tokenizer/fixtures.ts";

const ggufOf = (files: FixtureFiles, architecture: string, extra: object, tokenizer = {}) =>
  FilesSource.of([["model.gguf", converted(files, architecture, { ...extra }, undefined, tokenizer)]], "here");

async function loaded(source: FilesSource): Promise<HookedModel> {
  return new HookedModel(new Model(await loadParts(source, { gpu: await testGpu(), quiet: true, dtype: "float32" })));
}

async function saved(model: HookedModel, options: object = {}): Promise<MemoryStore> {
  const store = new MemoryStore();
  await saveModel(model, store, options);
  return store;
}

async function jsonIn(store: MemoryStore, file: string): Promise<Record<string, unknown> | undefined> {
  const source = store.source();
  return (await source.exists(file)) ? JSON.parse(new TextDecoder().decode(await source.readAll(file))) : undefined;
}

const tokenizerIn = (store: MemoryStore, modelType: string, vocabSize: number) =>
  loadTokenizer({ json: (name) => jsonIn(store, name) }, { modelType, vocabSize });

describe("tensors", () => {
  it.each([
    ["gpt_oss", "gpt-oss", { "attention.sliding_window": 7 }],
    ["qwen3_moe", "qwen3moe", {}],
  ])("of %s from GGUF are the family's", async (fixture, architecture, extra) => {
    const files = await fixtureFiles(`../types/${fixture}`);
    using model = await loaded(ggufOf(files, architecture, { ...expertSettings(files.config), ...extra }));
    const store = await saved(model);
    const found = new Map(
      tensorsOf(await store.source().readAll("model.safetensors")).map((each) => [each.name, each]),
    );
    expect([...found.keys()].sort()).toEqual(files.tensors.map(({ name }) => name).sort());
    for (const tensor of files.tensors) {
      const own = found.get(tensor.name) as typeof tensor;
      expect([own.name, own.shape]).toEqual([tensor.name, tensor.shape]);
      expect(valuesOf(own)).toEqual(valuesOf(tensor));
    }
  });

  it("that were quantised are numbers, and the config says nothing of a quantisation", async () => {
    const files = await fixtureFiles("llama");
    const quantization_config = { quant_method: "fp8", weight_block_size: null };
    using model = await loaded(sourceOf({ ...files, config: { ...files.config, quantization_config } }));
    expect(await jsonIn(await saved(model), "config.json")).not.toHaveProperty("quantization_config");
  });
});

describe("the tokenizer", () => {
  it("of a GGUF file is written as Hugging Face's files", async () => {
    const source = ggufOf(await fixtureFiles("qwen2"), "qwen2", {}, await byteLevelPairs("gpt-2"));
    using model = await loaded(source);
    const store = await saved(model, { tokenizerFrom: source });
    expect(await jsonIn(store, "tokenizer_config.json")).toMatchObject({ tokenizer_class: "PreTrainedTokenizerFast" });
    const tokenizer = await tokenizerIn(store, "qwen2", 400);
    const expected = await readFixture<Expected[]>("byte-level/expected.json");
    for (const { text, ids } of expected) expect(tokenizer?.encode(text), text).toEqual(ids);
  });

  it("that cannot be said in those files is named in a notice", async () => {
    const source = ggufOf(await fixtureFiles("qwen2"), "qwen2", {}, await byteLevelPairs("tekken"));
    using model = await loaded(source);
    const notices: string[] = [];
    const store = await saved(model, { tokenizerFrom: source, onNotice: (text: string) => notices.push(text) });
    expect(await jsonIn(store, "tokenizer.json")).toBeUndefined();
    expect(notices).toEqual([
      expect.stringMatching(/^the tokenizer is not saved with the model: .*pre tekken .* cannot be followed/),
    ]);
  });

  it("beside the file is copied, whatever the metadata says", async () => {
    const files = converted(await fixtureFiles("qwen2"), "qwen2", {}, undefined, await byteLevelPairs("gpt-2"));
    const own = new TextEncoder().encode('{"own": true}');
    const source = FilesSource.of(
      [
        ["model.gguf", files],
        ["tokenizer.json", own],
      ],
      "here",
    );
    using model = await loaded(source);
    expect(await jsonIn(await saved(model, { tokenizerFrom: source }), "tokenizer.json")).toEqual({ own: true });
  });

  it("of a folder without its files is GPT-2's where the model has its vocabulary", async () => {
    const { config, tensors } = await fixtureFiles("gpt2");
    const vocab_size = 50257;
    const wide = tensors.map((tensor) => {
      if (!tensor.name.endsWith("wte.weight")) return tensor;
      const width = tensor.shape[1] as number;
      return {
        ...tensor,
        dtype: "F32" as const,
        shape: [vocab_size, width],
        data: new Float32Array(vocab_size * width),
      };
    });
    const source = sourceOf({ config: { ...config, vocab_size }, tensors: wide });
    using model = await loaded(source);
    const store = await saved(model, { tokenizerFrom: source });
    const written = await tokenizerIn(store, "gpt2", vocab_size);
    const builtIn = await loadTokenizer({ json: async () => undefined }, { modelType: "gpt2", vocabSize: vocab_size });
    expect([builtIn?.kind, written?.kind]).toEqual(["gpt2", "huggingface"]);
    const text = await readFile(new URL(import.meta.url), "utf8");
    for (const some of [text, "Grüße, 東京! 🙂\u00a0 \t\n\n  it's 12345<|endoftext|> antidisestablishmentarianism"])
      expect(written?.encode(some)).toEqual(builtIn?.encode(some));
    expect(written?.eosIds).toEqual(builtIn?.eosIds);
  });

  it("is not made up for a model of another vocabulary", async () => {
    expect(await gpt2Files({ family: "gpt2", vocabSize: 100 })).toEqual({});
    expect(await gpt2Files({ family: "llama", vocabSize: 50257 })).toEqual({});
    using model = await loadModel(sourceOf(await fixtureFiles("llama")), { gpu: await testGpu(), quiet: true });
    const store = await saved(model, { tokenizerFrom: sourceOf(await fixtureFiles("llama")) });
    expect(await jsonIn(store, "tokenizer.json")).toBeUndefined();
  });
});
