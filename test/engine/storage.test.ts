/**
 * The same weights, stored otherwise: in every float type, in shards, cut at a small binding limit. And the same
 * embeddings, given instead of looked up.
 */
import { describe, expect, it } from "vitest";
import { type Dtype, f32ToBf16, f32ToF16, type TensorEntry, toFloat32 } from "../../src/checkpoint/index.ts";
import { loadParts } from "../../src/model/load.ts";
import { Model } from "../../src/model/model.ts";
import {
  changeTensors,
  entryOf,
  FAMILIES,
  type FixtureFiles,
  fixtureFiles,
  loadFixture,
  randomIds,
  readLogits,
  sourceOf,
  valuesOf,
} from "../support/fixtures.ts";
import { gpuWithLimits, testGpu } from "../support/gpu.ts";
import { byDay } from "../support/nightly.ts";
import { relativeError } from "../support/numbers.ts";

const TOLERANCE = 3e-6;

async function loadFiles(files: FixtureFiles, perShard?: number, gpu = testGpu()): Promise<Model> {
  return new Model(await loadParts(sourceOf(files, perShard), { gpu: await gpu }));
}

/** A prompt that crosses windows and takes the matmuls for many rows, and one token that takes the other. */
async function logitsOf(model: Model): Promise<Float32Array> {
  const many = await readLogits(model.forward([randomIds(model, 1, 21), randomIds(model, 2, 6)]));
  const single = await readLogits(model.forward(randomIds(model, 3, 1)));
  return Float32Array.from([...many, ...single]);
}

async function logitsOfFiles(files: FixtureFiles, perShard?: number): Promise<Float32Array> {
  using model = await loadFiles(files, perShard);
  return await logitsOf(model);
}

/** The nearest of the 256 values of an f8 type, by looking at all of them. */
function toF8(values: Float32Array, dtype: "F8_E4M3" | "F8_E5M2"): Uint8Array {
  const codes = Uint8Array.from({ length: 256 }, (_, code) => code);
  const sorted = Array.from(toFloat32(codes, dtype), (value, code) => ({ value, code }))
    .filter(({ value }) => Number.isFinite(value))
    .sort((a, b) => a.value - b.value);
  return Uint8Array.from(values, (value) => {
    const above = sorted.findIndex((candidate) => candidate.value >= value);
    const pair = sorted.slice(Math.max(0, above - 1), above < 0 ? undefined : above + 1);
    return pair.reduce((a, b) => (Math.abs(a.value - value) <= Math.abs(b.value - value) ? a : b)).code;
  });
}

const ENCODERS: Partial<Record<Dtype, (values: Float32Array) => ArrayBufferView>> = {
  F64: (values) => Float64Array.from(values),
  F16: f32ToF16,
  BF16: f32ToBf16,
  F8_E4M3: (values) => toF8(values, "F8_E4M3"),
  F8_E5M2: (values) => toF8(values, "F8_E5M2"),
};

function inDtype(tensor: TensorEntry, dtype: Dtype): TensorEntry {
  const data = ENCODERS[dtype]?.(valuesOf(tensor)) as ArrayBufferView;
  return { ...tensor, dtype, data };
}

/** The tensor's values as f32 again, after they were rounded. */
const rounded = (tensor: TensorEntry): TensorEntry => entryOf(tensor.name, tensor.shape, valuesOf(tensor).slice());

/** GPT-2 stores transposed, GPT-NeoX packs q, k and v by heads, gemma2 ties its head; starcoder2 and qwen3 do nothing else. */
const SAMPLE = ["gpt2", "gpt_neox", "gemma2", "starcoder2", "qwen3"];

describe.each(byDay(SAMPLE, ["gpt2", "gpt_neox", "gemma2"]))("%s", (family) => {
  it.each(Object.keys(ENCODERS) as Dtype[])("in %s runs as f32 weights of the same values do", async (dtype) => {
    const stored = changeTensors(await fixtureFiles(family), (tensor) => inDtype(tensor, dtype));
    const same = await logitsOfFiles(changeTensors(stored, rounded));
    expect(relativeError(await logitsOfFiles(stored), same)).toBeLessThan(TOLERANCE);
  });

  it("in a mixture of types, also within one packed matrix", async () => {
    const dtypes = Object.keys(ENCODERS) as Dtype[];
    const files = await fixtureFiles(family);
    const order = new Map(files.tensors.map(({ name }, index) => [name, index]));
    const stored = changeTensors(files, (tensor) =>
      inDtype(tensor, dtypes[(order.get(tensor.name) as number) % dtypes.length] as Dtype),
    );
    const same = await logitsOfFiles(changeTensors(stored, rounded));
    expect(relativeError(await logitsOfFiles(stored), same)).toBeLessThan(TOLERANCE);
  });

  it("in shards of three tensors", async () => {
    const files = await fixtureFiles(family);
    expect(await logitsOfFiles(files, 3)).toEqual(await logitsOfFiles(files));
  });
});

describe("an adapter that binds little", () => {
  it.each(FAMILIES)("%s, weights cut into parts and prompts into passes", async (family) => {
    using model = await loadFixture(family);
    // What one token of the widest activation and 30 tokens of the cache need, and less than the matrices do.
    const limit = 4096;
    const gpu = await gpuWithLimits({ maxStorageBufferBindingSize: limit });
    using small = await loadFixture(family, { gpu });
    expect(small.engine.weights.W_E.parts.length).toBeGreaterThan(2);
    expect(small.engine.weights.blocks[0]?.qkv?.parts.length).toBeGreaterThan(1);
    expect(small.engine.rowsPerPass()).toBeLessThan(30);
    for (const ids of [randomIds(model, 4, 9), randomIds(model, 4, 1)]) {
      const expected = await readLogits(model.forward(ids, { logits: "last" }));
      expect(relativeError(await readLogits(small.forward(ids, { logits: "last" })), expected)).toBeLessThan(TOLERANCE);
    }
  });

  // llama's embeddings are too large as well; the others' caches leave no room for so many tokens.
  it.each([
    ["llama", [100, 28, 90]],
    ["gemma2", [60, 28, 71]],
    ["bloom", [60, 28, 71]],
  ] as const)("%s, logits and given embeddings larger than a binding", async (family, lengths) => {
    using model = await loadFixture(family);
    const limit = 64 * 4 * model.spec.vocabSize + 300;
    const gpu = await gpuWithLimits({ maxStorageBufferBindingSize: limit });
    using small = await loadFixture(family, { gpu });
    const { dModel } = model.spec;
    const embeds = lengths.map((length) => Float32Array.from({ length: length * dModel }, (_, i) => Math.sin(i)));
    const input = { inputsEmbeds: embeds };
    const expected = await readLogits(model.forward(input));
    expect(4 * expected.length).toBeGreaterThan(2 * limit);
    expect(relativeError(await readLogits(small.forward(input)), expected)).toBeLessThan(TOLERANCE);
    small.engine.maxRowsPerPass = 7;
    expect(relativeError(await readLogits(small.forward(input)), expected)).toBeLessThan(TOLERANCE);
  });

  it("says so when 64 rows of logits do not fit", async () => {
    const gpu = await gpuWithLimits({ maxStorageBufferBindingSize: 8192 });
    using small = await loadFixture("llama", { gpu });
    const forward = small.forward(randomIds(small, 1, 40));
    await expect(forward).rejects.toMatchObject({ name: "GpuError", code: "gpu/binding-limit" });
  });
});

describe("embeddings given instead of ids", () => {
  it.each(FAMILIES)("%s gives the logits of the ids they stand for", async (family) => {
    using model = await loadFixture(family);
    const { spec } = model;
    const { tensors } = await fixtureFiles(family);
    const stem = spec.weights["embed.W_E"]!.tensor.split(".").slice(-2).join(".");
    const table = valuesOf(tensors.find(({ name }) => name.endsWith(stem)) as TensorEntry);
    const batch = [randomIds(model, 1, 11), randomIds(model, 2, 3)];
    const inputsEmbeds = batch.map((ids) =>
      Float32Array.from(
        ids.flatMap((id) => [...table.subarray(id * spec.dModel, (id + 1) * spec.dModel)]),
        (x) => x * spec.embed.scale,
      ),
    );
    const expected = await readLogits(model.forward(batch));
    expect(relativeError(await readLogits(model.forward({ inputsEmbeds })), expected)).toBeLessThan(TOLERANCE);
    model.engine.maxRowsPerPass = 3;
    expect(relativeError(await readLogits(model.forward({ inputsEmbeds })), expected)).toBeLessThan(TOLERANCE);
  });
});
