/**
 * Weights as people read them: each of every family's fixture against the tensor it is cut from, turned into
 * TransformerLens's shape here by plain loops.
 */
import { describe, expect, it } from "vitest";
import { RandomSource } from "../../src/bench/random-source.ts";
import { f32ToBf16, f32ToF16, type TensorEntry, toFloat32 } from "../../src/checkpoint/index.ts";
import { HookedModel } from "../../src/hooks/hooked-model.ts";
import { loadParts, openModelSource, readSpec } from "../../src/model/load.ts";
import { Model } from "../../src/model/model.ts";
import type { ModelSpec, WeightName } from "../../src/model/spec.ts";
import type { WeightValues } from "../../src/model/weights/read.ts";
import {
  changeTensors,
  entryOf,
  FAMILIES,
  type FixtureFiles,
  fixtureFiles,
  loadFixture,
  sourceOf,
  valuesOf,
} from "../support/fixtures.ts";
import { gpuWithLimits, testGpu } from "../support/gpu.ts";
import { lookupIn } from "./forward.reference.ts";

/** Rows of a matrix [out][in], or a vector as one row. */
type Rows = ArrayLike<ArrayLike<number>>;
/** What TransformerLens calls a weight of a spec, its sizes there, and the element at an index of that shape. */
type Form = [
  lens: string,
  sizes: (spec: ModelSpec, layer: number) => number[],
  at: (rows: Rows, index: number[], spec: ModelSpec) => number,
];

const element = (rows: Rows, row: number, column: number) => rows[row]?.[column] as number;
const asStored = (rows: Rows, [row, column]: number[]) => element(rows, row as number, column as number);
const turned = (rows: Rows, [column, row]: number[]) => element(rows, row as number, column as number);
const inRow = (rows: Rows, [index]: number[]) => element(rows, 0, index as number);
const ofHead = (rows: Rows, [head, dim]: number[], { dHead }: ModelSpec) =>
  element(rows, 0, (head as number) * dHead + (dim as number));
const intoHead = (rows: Rows, [head, m, dim]: number[], { dHead }: ModelSpec) =>
  element(rows, (head as number) * dHead + (dim as number), m as number);
const outOfHead = (rows: Rows, [head, dim, m]: number[], { dHead }: ModelSpec) =>
  element(rows, m as number, (head as number) * dHead + (dim as number));

const width = ({ dModel }: ModelSpec) => [dModel];
const mlp = (spec: ModelSpec, layer: number) => spec.layers[layer]?.dMlp ?? spec.dMlp;
const offset = ({ positions }: ModelSpec) => (positions.kind === "learned" ? positions.offset : 0);

const norm = (name: string, lens: string): Record<string, Form> => ({
  [`${name}.w`]: [`${lens}.w`, width, inRow],
  [`${name}.b`]: [`${lens}.b`, width, inRow],
});

const qkNorm = (name: string, lens: string, heads: (spec: ModelSpec) => number): Record<string, Form> => {
  const sizes = (spec: ModelSpec) =>
    ({ none: [], head: [spec.dHead], perHead: [heads(spec), spec.dHead], full: [heads(spec) * spec.dHead] })[
      spec.attention.qkNorm
    ];
  const at: Form[2] = (rows, index, { attention }) => (attention.qkNorm === "perHead" ? asStored : inRow)(rows, index);
  return { [`${name}.w`]: [`${lens}.w`, sizes, at], [`${name}.b`]: [`${lens}.b`, sizes, at] };
};

const projection = (part: string, heads: (spec: ModelSpec) => number): Record<string, Form> => ({
  [`attn.W_${part}`]: [`attn.W_${part}`, (spec) => [heads(spec), spec.dModel, spec.dHead], intoHead],
  [`attn.b_${part}`]: [`attn.b_${part}`, (spec) => [heads(spec), spec.dHead], ofHead],
});

const queries = ({ nHeads }: ModelSpec) => nHeads;
const keys = ({ nKvHeads }: ModelSpec) => nKvHeads;

const ENDS: Record<string, Form> = {
  "embed.W_E": ["W_E", (spec) => [spec.vocabSize, spec.dModel], asStored],
  "embed.W_pos": [
    "W_pos",
    (spec) => [spec.maxPositions, spec.dModel],
    (rows, [position, m], spec) => element(rows, (position as number) + offset(spec), m as number),
  ],
  ...norm("embed.norm", "embed.ln"),
  ...norm("lnFinal", "ln_final"),
  "unembed.W_U": ["W_U", (spec) => [spec.dModel, spec.vocabSize], turned],
  "unembed.b_U": ["b_U", (spec) => [spec.vocabSize], inRow],
};

const IN_BLOCK: Record<string, Form> = {
  ...norm("ln1", "ln1"),
  ...norm("ln1Post", "ln1_post"),
  ...norm("ln2", "ln2"),
  ...norm("ln2Post", "ln2_post"),
  ...projection("Q", queries),
  ...projection("K", keys),
  ...projection("V", keys),
  ...qkNorm("attn.qNorm", "attn.q_norm", queries),
  ...qkNorm("attn.kNorm", "attn.k_norm", keys),
  "attn.W_O": ["attn.W_O", (spec) => [spec.nHeads, spec.dHead, spec.dModel], outOfHead],
  "attn.b_O": ["attn.b_O", width, inRow],
  "mlp.W_gate": ["mlp.W_gate", (spec, layer) => [spec.dModel, mlp(spec, layer)], turned],
  "mlp.b_gate": ["mlp.b_gate", (spec, layer) => [mlp(spec, layer)], inRow],
  "mlp.W_in": ["mlp.W_in", (spec, layer) => [spec.dModel, mlp(spec, layer)], turned],
  "mlp.b_in": ["mlp.b_in", (spec, layer) => [mlp(spec, layer)], inRow],
  "mlp.W_out": ["mlp.W_out", (spec, layer) => [mlp(spec, layer), spec.dModel], turned],
  "mlp.b_out": ["mlp.b_out", width, inRow],
};

/** Every index of an array of these sizes, in row-major order. */
function* indicesOf([size, ...others]: readonly number[]): Generator<number[]> {
  if (size === undefined) return yield [];
  for (let index = 0; index < size; index++) for (const rest of indicesOf(others)) yield [index, ...rest];
}

/** What a model with these tensors should say of its weights. */
function expectedWeights(spec: ModelSpec, tensors: readonly TensorEntry[]): Map<string, WeightValues> {
  const lookup = lookupIn(spec, tensors);
  const expected = new Map<string, WeightValues>();
  const add = (forms: Record<string, Form>, layer: number, prefix: string) => {
    for (const [name, [lens, sizes, at]] of Object.entries(forms)) {
      const rows = lookup(name as WeightName, layer);
      if (!rows) continue;
      const shape = sizes(spec, layer);
      const data = Float32Array.from(indicesOf(shape), (index) => at(rows, index, spec));
      expected.set(prefix + lens, { name: prefix + lens, shape, data });
    }
  };
  add(ENDS, 0, "");
  for (let layer = 0; layer < spec.nLayers; layer++) add(IN_BLOCK, layer, `blocks.${layer}.`);
  return expected;
}

async function expectWeights(model: Model, { tensors }: Pick<FixtureFiles, "tensors">): Promise<void> {
  const expected = expectedWeights(model.spec, tensors);
  expect(model.weightNames().sort()).toEqual([...expected.keys()].sort());
  for (const [name, values] of expected) expect(await model.weight(name), name).toEqual(values);
}

async function load(files: FixtureFiles): Promise<Model> {
  return new Model(await loadParts(sourceOf(files), { gpu: await testGpu() }));
}

describe("every weight", () => {
  it.each(FAMILIES)("of %s is the checkpoint's, in TransformerLens's shape", async (family) => {
    using model = await loadFixture(family);
    await expectWeights(model, await fixtureFiles(family));
  });

  // GPT-2 keeps [in, out], GPT-NeoX packs by heads, gemma2 ties its head, phi3 packs gate and up, llama groups queries.
  const SAMPLE = ["gpt2", "gpt_neox", "gemma2", "phi3", "llama", "opt"];
  it.each(SAMPLE)("of %s in f16 and bf16, widened without loss", async (family) => {
    const files = changeTensors(await fixtureFiles(family), (tensor) => {
      const isHalf = tensor.name.length % 2 === 0;
      const data = (isHalf ? f32ToF16 : f32ToBf16)(valuesOf(tensor));
      return { ...tensor, dtype: isHalf ? "F16" : "BF16", data };
    });
    using model = await load(files);
    await expectWeights(model, files);
  });

  it.each(SAMPLE)("of %s, cut into parts that an adapter can bind", async (family) => {
    using model = await loadFixture(family, { gpu: await gpuWithLimits({ maxStorageBufferBindingSize: 4096 }) });
    expect(model.engine.weights.W_E.parts.length).toBeGreaterThan(2);
    await expectWeights(model, await fixtureFiles(family));
  });

  it("of a matrix that is read in several pieces", async () => {
    const size = { n_layer: 1, n_embd: 96, n_head: 4, n_positions: 8, vocab_size: 60_000 };
    const config = { model_type: "gpt2", ...size, tie_word_embeddings: true };
    const source = () => RandomSource.create(config);
    using model = new Model(await loadParts(await source(), { gpu: await testGpu() }));
    const checkpoint = await openModelSource(await source());
    const stored = toFloat32(await checkpoint.read("transformer.wte.weight"), "F32");
    expect(stored.byteLength).toBeGreaterThan(20 << 20);
    const embedding = await model.weight("W_E");
    expect(embedding.shape).toEqual([60_000, 96]);
    expect(
      Buffer.compare(
        Buffer.from(embedding.data.buffer),
        Buffer.from(stored.buffer, stored.byteOffset, stored.byteLength),
      ),
    ).toBe(0);
    const { data } = await model.weight("W_U");
    for (const token of [0, 1, 43_690, 43_691, 59_999])
      for (const m of [0, 1, 95]) expect(data[m * 60_000 + token]).toBe(stored[token * 96 + m]);
  });
});

describe("what a custom spec can say", () => {
  async function custom(
    family: string,
    change: (spec: ModelSpec) => ModelSpec,
    extra: TensorEntry[],
  ): Promise<FixtureFiles> {
    const files = await fixtureFiles(family);
    const { spec } = await readSpec(await openModelSource(sourceOf(files)));
    return {
      config: { model_type: "custom", spec: change(spec) },
      tensors: [...files.tensors, ...extra],
    };
  }
  const counted = (name: string, shape: number[]) =>
    entryOf(
      name,
      shape,
      Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => 1 + i / 64),
    );

  it("a bias of the queries alone: those stacked with it are zeros", async () => {
    const { nHeads, dHead, nLayers } = (await readSpec(await openModelSource(sourceOf(await fixtureFiles("llama")))))
      .spec;
    const biases = Array.from({ length: nLayers }, (_, i) => counted(`bias.${i}`, [nHeads * dHead]));
    const files = await custom(
      "llama",
      (spec) => ({ ...spec, weights: { ...spec.weights, "attn.b_Q": { tensor: "bias.{i}" } } }),
      biases,
    );
    using model = await load(files);
    const { shape, data } = await model.weight("blocks.1.attn.b_Q");
    expect(shape).toEqual([nHeads, dHead]);
    expect(data).toEqual(biases[1]?.data);
    const zeros = await model.weight("blocks.1.attn.b_V");
    expect(zeros.shape).toEqual([model.spec.nKvHeads, dHead]);
    expect(zeros.data.every((value) => value === 0)).toBe(true);
  });

  it("q/k norms of each head, packed in one tensor", async () => {
    const { nHeads, nKvHeads, dHead, nLayers } = (
      await readSpec(await openModelSource(sourceOf(await fixtureFiles("llama"))))
    ).spec;
    const rows = { groups: 1, groupSize: nHeads + nKvHeads };
    const files = await custom(
      "llama",
      (spec) => ({
        ...spec,
        attention: { ...spec.attention, qkNorm: "perHead" },
        weights: {
          ...spec.weights,
          "attn.qNorm.w": { tensor: "norms.{i}", rows: { ...rows, start: 0, count: nHeads } },
          "attn.kNorm.w": { tensor: "norms.{i}", rows: { ...rows, start: nHeads, count: nKvHeads } },
        },
      }),
      Array.from({ length: nLayers }, (_, i) => counted(`norms.${i}`, [nHeads + nKvHeads, dHead])),
    );
    using model = await load(files);
    await expectWeights(model, files);
  });
});

describe("names", () => {
  it("come in the order of the pass, and are those of HookedModel", async () => {
    using model = await loadFixture("gpt2");
    const hooked = new HookedModel(model);
    const names = hooked.weightNames();
    expect(names).toEqual(model.weightNames());
    expect(names.slice(0, 5)).toEqual(["W_E", "W_pos", "blocks.0.ln1.w", "blocks.0.ln1.b", "blocks.0.attn.W_Q"]);
    expect(names.slice(-3)).toEqual(["ln_final.w", "ln_final.b", "W_U"]);
    expect(await hooked.weight("blocks.1.mlp.W_in")).toEqual(await model.weight("blocks.1.mlp.W_in"));
  });

  it("of TransformerLens's state dict are taken, too", async () => {
    using model = await loadFixture("gpt2");
    for (const [long, short] of [
      ["embed.W_E", "W_E"],
      ["pos_embed.W_pos", "W_pos"],
      ["unembed.W_U", "W_U"],
    ] as const)
      expect(await model.weight(long)).toEqual(await model.weight(short));
  });

  it.each([
    ["blocks.0.attn.b_Q", /is no weight of this llama model, which counts it as zero\. Nearest: blocks\.0\.attn\.W_Q/],
    ["blocks.7.attn.W_Q", /it has blocks 0 to 2\. Nearest: blocks\.\d\.attn\.W_Q/],
    ["blocks.0.attn.W_q", /"blocks\.0\.attn\.W_q" is no weight of this llama model\. Nearest: blocks\.0\.attn\.W_/],
    ["W_pos", /is no weight of this llama model\. Nearest: /],
  ])("that are none are refused: %s", async (name, message) => {
    using model = await loadFixture("llama");
    const error = await model.weight(name).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({
      name: "InputError",
      code: "input/no-weight",
      message: expect.stringMatching(message),
    });
  });

  it("of a model that was destroyed are refused", async () => {
    const model = await loadFixture("llama");
    model.destroy();
    await expect(model.weight("W_E")).rejects.toMatchObject({ name: "InputError", code: "input/model-destroyed" });
  });
});
