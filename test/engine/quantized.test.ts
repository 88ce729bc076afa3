/**
 * Weights in blocks compute what the numbers that they stand for compute in float32: logits, edits, sweeps, gradients. The
 * numbers are made here, tensor by tensor, by the plain quantiser and decoder.
 */
import { describe, expect, it } from "vitest";
import { type BlockType, dequantize, quantize } from "../../src/checkpoint/blocks.ts";
import type { TensorEntry } from "../../src/checkpoint/index.ts";
import { compareModels, HookedModel, metric } from "../../src/hooks/index.ts";
import { loadParts } from "../../src/model/load.ts";
import { Model } from "../../src/model/model.ts";
import { weightBuffers } from "../../src/model/weights/weights.ts";
import { entryOf, type FixtureFiles, fixtureFiles, randomIds, readLogits, sourceOf, valuesOf } from "../support/fixtures.ts";
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
    const point = "blocks.0.hook_resid_post";
    const edits = [{ point: "blocks.0.attn.hook_z", op: "scale", value: 0.5, heads: [0] }] as const;
    const asked = [metric.logProb({ token: 3 })];
    const seen = async (model: HookedModel) => {
      using result = await model.forward(ids, { capture: point, edits: edits as never });
      const captured = await result.cache.read(point);
      const swept = await model.sweep(ids, { cells: [[], edits] as never, metric: asked[0] as never });
      using back = await model.backward(ids, { metric: asked[0] as never, gradients: [point] } as never);
      return { captured, swept, back };
    };
    const [actual, wanted] = [await seen(quantized), await seen(expected)];
    expect(relativeError(actual.captured, wanted.captured)).toBeLessThan(TOLERANCE);
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
});
