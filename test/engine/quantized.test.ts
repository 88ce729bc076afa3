/**
 * Weights in blocks compute what the numbers that they stand for compute in float32: logits, edits, sweeps, gradients. The
 * numbers are made here, tensor by tensor, by the plain quantiser and decoder.
 */
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { type BlockType, dequantize, quantize } from "../../src/checkpoint/blocks.ts";
import {
  type Checkpoint,
  MemoryStore,
  openCheckpoint,
  type TensorEntry,
  type TensorInfo,
} from "../../src/checkpoint/index.ts";
import { compareModels, type Edit, HookedModel, metric } from "../../src/hooks/index.ts";
import { loadParts, type ModelSource } from "../../src/model/load.ts";
import { Model } from "../../src/model/model.ts";
import { loadWeights } from "../../src/model/weights/load.ts";
import { readWeight } from "../../src/model/weights/read.ts";
import { weightBuffers } from "../../src/model/weights/weights.ts";
import { saveModel } from "../../src/train/index.ts";
import {
  entryOf,
  type FixtureFiles,
  fixtureFiles,
  randomIds,
  readLogits,
  sourceOf,
  valuesOf,
} from "../support/fixtures.ts";
import { testGpu } from "../support/gpu.ts";
import { relativeError } from "../support/numbers.ts";

const TOLERANCE = 1e-5;
const QUANTIZED = ["q8_0", "q4_0"] as const;

/** Each row of a matrix in blocks, and back; a row that ends within a block goes on in zeros. */
function roundedRows(tensor: TensorEntry, type: BlockType): TensorEntry {
  const values = valuesOf(tensor).slice();
  const width = tensor.shape.at(-1) as number;
  const padded = Math.ceil(width / 32) * 32;
  for (let at = 0; at < values.length; at += width) {
    const row = new Float32Array(padded);
    row.set(values.subarray(at, at + width));
    values.set(dequantize(quantize(row, type), type).subarray(0, width), at);
  }
  return entryOf(tensor.name, tensor.shape, values);
}

const isMatrix = ({ name, shape }: TensorEntry) => shape.length === 2 && !name.endsWith("wpe.weight");

function roundedFiles({ config, tensors }: FixtureFiles, type: BlockType): FixtureFiles {
  return { config, tensors: tensors.map((tensor) => (isMatrix(tensor) ? roundedRows(tensor, type) : tensor)) };
}

async function pairOf(family: string, weights: (typeof QUANTIZED)[number]) {
  const files = await fixtureFiles(family);
  const gpu = await testGpu();
  const load = async (from: FixtureFiles, options: object) =>
    new HookedModel(new Model(await loadParts(sourceOf(from), { gpu, ...options })));
  const expected = await load(roundedFiles(files, weights.toUpperCase() as BlockType), {});
  return { quantized: await load(files, { weights }), expected };
}

describe.each(["llama", "gpt2"])("%s", (family) => {
  it.each(QUANTIZED)("%s: logits, of many rows and of one", async (weights) => {
    const { quantized, expected } = await pairOf(family, weights);
    const both = (ids: number[]) => [readLogits(quantized.base.forward(ids)), readLogits(expected.base.forward(ids))];
    for (const ids of [randomIds(quantized.base, 1, 21), randomIds(quantized.base, 3, 1)]) {
      const [actual, wanted] = (await Promise.all(both(ids))) as [Float32Array, Float32Array];
      expect(relativeError(actual, wanted)).toBeLessThan(TOLERANCE);
    }
    quantized.destroy();
    expected.destroy();
  });
});

describe("llama in q4_0", () => {
  it("is captured, edited, swept and differentiated as its numbers in float32 are", async () => {
    const { quantized, expected } = await pairOf("llama", "q4_0");
    const ids = randomIds(quantized.base, 5, 9);
    const at = "blocks.0.hook_resid_post";
    const edit: Edit = { at: "blocks.0.attn.hook_z", op: "scale", value: 0.5, heads: [0] };
    const logProb = metric.logProb(3);
    const numbersOf = async (model: HookedModel) => {
      using forward = await model.forward(ids, { capture: at, edits: edit });
      using back = await model.backward(ids, { metric: logProb, at, edits: edit });
      const { values } = await model.sweep({ input: ids, cells: [[], edit], metric: [logProb, metric.logit(2)] });
      const hooked: number[] = [];
      using seen = await model.runWithHooks(ids, { [at]: (x) => void hooked.push(...x.subarray(0, 8)) });
      return [await forward.cache.read(at), await back.grads.read(at), values, hooked, await seen.logits.read()];
    };
    const [actual, wanted] = [await numbersOf(quantized), await numbersOf(expected)];
    for (const [index, numbers] of actual.entries())
      expect(relativeError(Float32Array.from(numbers), Float32Array.from(wanted[index] ?? []))).toBeLessThan(TOLERANCE);
    await expect(quantized.backward(ids, { metric: logProb, weights: "*" })).resolves.toBeDefined();
    quantized.destroy();
    expected.destroy();
  });

  it("gives its numbers back by name", async () => {
    const { quantized, expected } = await pairOf("llama", "q4_0");
    for (const name of ["W_E", "blocks.0.attn.W_K", "blocks.1.mlp.W_out"])
      expect((await quantized.weight(name)).data).toEqual((await expected.weight(name)).data);
    quantized.destroy();
    expected.destroy();
  });

  it("is as far from its float32 numbers as rounding is, and further from those it was made of", async () => {
    const { quantized, expected } = await pairOf("llama", "q4_0");
    const ids = randomIds(quantized.base, 7, 12);
    const near = await compareModels(expected, quantized, [ids, ids.slice(0, 5)]);
    expect(near).toMatchObject({ positions: 17, topAgreement: 1 });
    expect(near.largestKl).toBeLessThan(1e-8);
    const gpu = await testGpu();
    const parts = await loadParts(sourceOf(await fixtureFiles("llama")), { gpu });
    using stored = new HookedModel(new Model(parts));
    const far = await compareModels(stored, quantized, ids);
    expect(far.kl).toBeGreaterThan(1e-5);
    expect(far.kl).toBeLessThan(0.1);
    expect(far.largestKl).toBeGreaterThanOrEqual(far.kl);
    quantized.destroy();
    expected.destroy();
  });

  it("takes the memory of its blocks, rows padded to whole ones", async () => {
    const { quantized, expected } = await pairOf("llama", "q4_0");
    const bytesOf = ({ base }: HookedModel) =>
      [...weightBuffers(base.engine.weights)].reduce((sum, { size }) => sum + size, 0);
    expect(bytesOf(quantized)).toBeLessThan(0.35 * bytesOf(expected));
    quantized.destroy();
    expected.destroy();
  });
});

it("refuses weights beside dtype, and a type that there is not", async () => {
  const source = sourceOf(await fixtureFiles("llama"));
  const gpu = await testGpu();
  await expect(loadParts(source, { gpu, dtype: "float32", weights: "q8_0" })).rejects.toThrow(/weights.*dtype/s);
  await expect(loadParts(source, { gpu, weights: "q4_k" as never })).rejects.toThrow(/q8_0/);
});

/** A checkpoint with some of its matrices in blocks, as a GGUF file has them: read by ranges of whole rows. */
function inBlocks(
  checkpoint: Checkpoint,
  tensors: readonly TensorEntry[],
  typeOf: (name: string) => BlockType | undefined,
) {
  const bytes = new Map<string, Uint8Array>();
  const infos = new Map(checkpoint.tensors);
  for (const tensor of tensors) {
    const type = typeOf(tensor.name);
    if (type === undefined) continue;
    const data = quantize(valuesOf(tensor), type);
    bytes.set(tensor.name, data);
    const info = infos.get(tensor.name) as TensorInfo;
    infos.set(tensor.name, { ...info, dtype: type, byteStart: 0, byteEnd: data.length, byteLength: data.length });
  }
  const read = async (name: string, start = 0, end?: number) =>
    bytes.get(name)?.subarray(start, end) ?? checkpoint.read(name, start, end);
  return {
    label: checkpoint.label,
    tensors: infos,
    metadata: {},
    absent: checkpoint.absent,
    read,
  } as unknown as Checkpoint;
}

it("keeps the types of queries, keys and values that lie stacked apart", async () => {
  const files = await fixtureFiles("llama");
  const typeOf = (name: string) => (/v_proj/.test(name) ? "Q8_0" : /q_proj|k_proj/.test(name) ? "Q4_0" : undefined);
  const rounded = files.tensors.map((tensor) => {
    const type = typeOf(tensor.name);
    return type === undefined ? tensor : roundedRows(tensor, type);
  });
  const gpu = await testGpu();
  const parts = await loadParts(sourceOf({ config: files.config, tensors: rounded }), { gpu });
  using expected = new Model(parts);
  const checkpoint = await openCheckpoint(sourceOf(files));
  const weights = await loadWeights(gpu, parts.spec, inBlocks(checkpoint, files.tensors, typeOf));
  const storages = weights.blocks[0]?.qkv?.parts.map((part) => part.storage ?? weights.blocks[0]?.qkv?.storage);
  expect(storages).toEqual(["q4_0", "q8_0"]);
  using mixed = new Model({ ...parts, weights });
  for (const ids of [randomIds(mixed, 1, 21), randomIds(mixed, 3, 1)]) {
    const [actual, wanted] = [await readLogits(mixed.forward(ids)), await readLogits(expected.forward(ids))];
    expect(relativeError(actual, wanted)).toBeLessThan(TOLERANCE);
  }
  const [value, expectedValue] = [mixed, expected].map((model) => readWeight(model.engine, "blocks.1.attn.W_V"));
  expect((await value)?.data).toEqual((await expectedValue)?.data);
});

it.each(["f16", "q8_0"] as const)(
  "%s: a saved model has the numbers that it computed with, in float32",
  async (weights) => {
    const gpu = await testGpu();
    const load = async (source: ModelSource, options: object) =>
      new HookedModel(new Model(await loadParts(source, { gpu, ...options })));
    using model = await load(sourceOf(await fixtureFiles("gpt2")), { weights });
    const store = new MemoryStore();
    await saveModel(model, store);
    using again = await load(store.source(), {});
    const ids = randomIds(model.base, 1, 7);
    const [saved, own] = [await readLogits(again.base.forward(ids)), await readLogits(model.base.forward(ids))];
    expect(relativeError(saved, own)).toBeLessThan(TOLERANCE);
  },
);

it("routers keep the type that they are stored in: rounded to few bits, they would choose other experts", async () => {
  const gpu = await testGpu();
  const parts = await loadParts(fileURLToPath(new URL("../fixtures/types/mixtral", import.meta.url)), {
    gpu,
    weights: "q4_0",
  });
  using model = new Model(parts);
  const storages = new Map(model.engine.weights.planned.map(({ place, matrix }) => [place, matrix.storage]));
  expect([storages.get("W_router"), storages.get("W_O")]).toEqual(["f32", "q4_0"]);
});
