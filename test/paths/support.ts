/** Models made for these tests: without norms they are sums of products of matrices, which are worked out here in float64. */
import type { TensorEntry } from "../../src/checkpoint/index.ts";
import { HookedModel } from "../../src/hooks/index.ts";
import { loadParts } from "../../src/model/load.ts";
import { Model } from "../../src/model/model.ts";
import type { ModelSpec } from "../../src/model/spec.ts";
import { isPerBlock, type WeightName, weightShape, weightUses } from "../../src/model/weights/table.ts";
import { sourceOf } from "../support/fixtures.ts";
import { testGpu } from "../support/gpu.ts";
import { gaussians, seeded } from "../support/numbers.ts";

/** Two blocks with four heads over two key-value heads, no norm, no positions, and an MLP of the given activation. */
export async function plainModel(
  activation: ModelSpec["mlp"]["activation"],
  zero: readonly WeightName[] = [],
): Promise<HookedModel> {
  const none = { kind: "none", eps: 0, weightOffset: 0 } as const;
  const spec: ModelSpec = {
    ...{ family: "custom", nLayers: 2, dModel: 10, nHeads: 4, nKvHeads: 2, dHead: 4, dMlp: 7 },
    ...{ vocabSize: 13, maxPositions: 16, norm: none, ropes: [], positions: { kind: "none" } },
    embed: { scale: 1, norm: false },
    block: { norms: "pre", residual: "sequential", parallelSharedNorm: false, residualScale: 1 },
    attention: { scale: 0.5, softCap: null, qkNorm: "none", qkNormSpec: none },
    mlp: { kind: "plain", activation },
    layers: Array.from({ length: 2 }, () => ({ window: null, rope: null })),
    unembed: { tied: false, scale: 1, softCap: null },
    weights: {},
  };
  const random = seeded(5);
  const tensors: TensorEntry[] = [];
  for (const [name] of weightUses(spec)) {
    spec.weights[name] = { tensor: isPerBlock(name) ? `blocks.{i}.${name}` : name };
    for (let layer = 0; layer < (isPerBlock(name) ? 2 : 1); layer++) {
      const shape = weightShape(spec, name, layer);
      const count = shape.reduce((product, size) => product * size, 1);
      const data = zero.includes(name) ? new Float32Array(count) : gaussians(random, count, 0.4);
      tensors.push({ name: isPerBlock(name) ? `blocks.${layer}.${name}` : name, dtype: "F32", shape, data });
    }
  }
  const source = sourceOf({ config: { model_type: "custom", spec }, tensors });
  return new HookedModel(new Model(await loadParts(source, { gpu: await testGpu() })));
}

/** Rows of numbers. */
export type Rows = number[][];

export const times = (a: Rows, b: Rows): Rows =>
  a.map((row) => (b[0] as number[]).map((_, j) => row.reduce((sum, x, k) => sum + x * (b[k]?.[j] as number), 0)));

export const plus = (a: Rows, b: Rows): Rows => a.map((row, i) => row.map((x, j) => x + (b[i]?.[j] as number)));

export const scaled = (a: Rows, by: number): Rows => a.map((row) => row.map((x) => x * by));

export const transposed = (a: Rows): Rows => (a[0] as number[]).map((_, j) => a.map((row) => row[j] as number));

export const identity = (size: number): Rows =>
  Array.from({ length: size }, (_, i) => Array.from({ length: size }, (_, j) => (i === j ? 1 : 0)));

/** A matrix of the model, or one head's, in TransformerLens's orientation [in, out]. */
export async function matrix(model: HookedModel, name: string, head?: number): Promise<Rows> {
  const { shape, data } = await model.weight(name);
  const [rows = 0, columns = 0] = shape.slice(-2);
  const start = (head ?? 0) * rows * columns;
  return Array.from({ length: rows }, (_, row) => [
    ...data.subarray(start + row * columns, start + (row + 1) * columns),
  ]);
}

/** W_V W_O of a head, [dModel, dModel]. */
export async function headOv(model: HookedModel, layer: number, head: number): Promise<Rows> {
  const { nHeads, nKvHeads } = model.spec;
  const W_V = await matrix(model, `blocks.${layer}.attn.W_V`, Math.floor(head / (nHeads / nKvHeads)));
  return times(W_V, await matrix(model, `blocks.${layer}.attn.W_O`, head));
}
