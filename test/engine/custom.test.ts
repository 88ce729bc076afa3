/**
 * Specs no family has: every choice of `ModelSpec` drawn at random, odd widths, weights in random types and orientations,
 * run by the engine and by the float64 decoder.
 */
import { describe, expect, it } from "vitest";
import { f32ToBf16, f32ToF16, type TensorEntry } from "../../src/checkpoint/index.ts";
import { loadParts } from "../../src/model/load.ts";
import { Model } from "../../src/model/model.ts";
import type { ModelSpec, NormSpec, RopeSpec, TensorSource, WeightName } from "../../src/model/spec.ts";
import { isPerBlock, isWeightOf, weightShape, weightUses } from "../../src/model/weights/table.ts";
import { randomIds, readLogits, sourceOf } from "../support/fixtures.ts";
import { testGpu } from "../support/gpu.ts";
import { byDay } from "../support/nightly.ts";
import { gaussians, integer, pickOne, relativeError, seeded } from "../support/numbers.ts";
import { lookupIn, ReferenceDecoder } from "./forward.reference.ts";

type Random = () => number;

/** Activations grow without norms, and errors with them. Seen: up to 2e-6. */
const TOLERANCE = 2e-5;

const maybe = (random: Random, share = 0.5) => random() < share;

function randomRope(random: Random, dHead: number): RopeSpec {
  const rotaryDim = 2 * integer(random, 1, dHead / 2);
  return {
    theta: pickOne(random, [100, 10_000]),
    rotaryDim,
    style: pickOne(random, ["half", "interleaved"]),
    scaling: { kind: "none" },
  };
}

function randomNorm(random: Random, kinds: readonly NormSpec["kind"][]): NormSpec {
  return { kind: pickOne(random, kinds), eps: pickOne(random, [1e-5, 1e-2]), weightOffset: pickOne(random, [0, 0, 1]) };
}

function randomPositions(random: Random, nHeads: number): ModelSpec["positions"] {
  return pickOne<ModelSpec["positions"]>(random, [
    { kind: "none" },
    { kind: "learned", offset: integer(random, 0, 3) },
    { kind: "alibi", slopes: Array.from({ length: nHeads }, () => random()) },
  ]);
}

function randomSpec(random: Random): ModelSpec {
  const nKvHeads = integer(random, 1, 3);
  const nHeads = nKvHeads * integer(random, 1, 3);
  const dHead = 4 * integer(random, 1, 4);
  const dMlp = integer(random, 3, 13);
  const residual = pickOne(random, ["sequential", "sequential", "parallel"] as const);
  const norm = randomNorm(random, ["layer", "rms", "none"]);
  const nLayers = integer(random, 1, 3);
  const ropes = Array.from({ length: integer(random, 0, 2) }, () => randomRope(random, dHead));
  return {
    ...{ family: "custom", nLayers, dModel: integer(random, 3, 21), nHeads, nKvHeads, dHead, dMlp },
    ...{ vocabSize: integer(random, 9, 70), maxPositions: 64, norm, ropes },
    embed: { scale: pickOne(random, [1, 2.5]), norm: norm.kind !== "none" && maybe(random, 0.3) },
    positions: randomPositions(random, nHeads),
    block: {
      norms: residual === "parallel" ? "pre" : pickOne(random, ["pre", "post", "sandwich"] as const),
      residual,
      parallelSharedNorm: residual === "parallel" && maybe(random),
      residualScale: pickOne(random, [1, 0.4]),
    },
    attention: {
      scale: random() / 2 + 0.1,
      softCap: maybe(random, 0.3) ? 1.5 : null,
      qkNorm: pickOne(random, ["none", "none", "head", "perHead", "full"] as const),
      qkNormSpec: randomNorm(random, ["layer", "rms", "none"]),
    },
    mlp: {
      kind: pickOne(random, ["plain", "gated"] as const),
      activation: pickOne(random, ["relu", "silu", "gelu", "gelu_tanh", "gelu_quick", "identity"] as const),
      ...(maybe(random, 0.15) && { absent: true }),
    },
    layers: Array.from({ length: nLayers }, () => ({
      window: maybe(random, 0.3) ? integer(random, 1, 9) : null,
      rope: ropes.length > 0 && maybe(random, 0.8) ? integer(random, 0, ropes.length - 1) : null,
      ...(maybe(random, 0.3) && { attentionScale: 0.33 }),
      ...(maybe(random, 0.3) && { dMlp: integer(random, 3, 13) }),
    })),
    unembed: { tied: maybe(random), scale: pickOne(random, [1, 0.3]), softCap: maybe(random, 0.3) ? 2 : null },
    weights: {},
  };
}

/** Heads whose values are not as wide as queries and keys, layers in chunks or without a q/k norm, or latent attention. */
function withOtherHeads(random: Random, spec: ModelSpec): ModelSpec {
  const layers = spec.layers.map((layer) => ({
    ...layer,
    ...(spec.attention.causal !== false && layer.window === null && maybe(random) && { chunk: integer(random, 1, 7) }),
    ...(maybe(random, 0.3) && { qkNorm: false }),
  }));
  const other = { ...spec, layers, dValue: integer(random, 1, 15) };
  if (maybe(random)) return other;
  const dRope = 2 * integer(random, 1, 3);
  const latent = {
    ...{ dKv: integer(random, 3, 9), dRope, norm: randomNorm(random, ["layer", "rms", "none"]) },
    ...(maybe(random) && { dQ: integer(random, 3, 9) }),
  };
  return {
    ...other,
    ...{ nKvHeads: spec.nHeads, dHead: dRope + integer(random, 1, 9) },
    ropes: spec.ropes.map(() => randomRope(random, dRope)),
    attention: { ...spec.attention, qkNorm: "none", latent },
  };
}

/** What few types of models have: xIELU, layers before the unembedding and without a norm, embeddings for each block, shared keys. */
function withRarities(random: Random, spec: ModelSpec): ModelSpec {
  const { nHeads, norm, block } = spec;
  const dHeads = Array.from({ length: spec.nLayers }, () => 4 * integer(random, 1, 4));
  const kvHeads = [1, spec.nKvHeads, nHeads];
  const hasNormBefore = block.residual === "sequential" && block.norms !== "post";
  const layers = spec.layers.map((layer, i): ModelSpec["layers"][number] => {
    const own = {
      ...layer,
      dHead: dHeads[i] as number,
      nKvHeads: pickOne(random, kvHeads),
      ...(i === 0 && hasNormBefore && { attentionNorm: false }),
    };
    return maybe(random, 0.4) ? { ...own, valuesFromKeys: true } : own;
  });
  const last = spec.nLayers - 1;
  const [{ dHead, nKvHeads }] = layers as [ModelSpec["layers"][number]];
  if (last > 0) {
    const { valuesFromKeys: _, ...settings } = layers[last] as (typeof layers)[number];
    layers[last] = { ...settings, dHead, nKvHeads, keysFrom: 0 } as (typeof layers)[number];
  }
  const narrowest = Math.min(spec.dHead, ...layers.map((layer) => layer.dHead as number));
  const perLayer = {
    ...{ width: integer(random, 1, 9), vocabSize: spec.vocabSize + integer(random, 0, 3) },
    ...({ tableScale: 1.5, projectionScale: 0.7, scale: 0.6, activation: "gelu" } as const),
  };
  return {
    ...spec,
    embed: { ...spec.embed, ...(maybe(random, 0.7) && { perLayer }) },
    block: { ...block, scalar: maybe(random) },
    attention: { ...spec.attention, vNorm: randomNorm(random, ["layer", "rms"]) },
    mlp: { ...spec.mlp, activation: maybe(random) ? "xielu" : spec.mlp.activation },
    layers,
    ropes: spec.ropes.map((rope) => ({ ...rope, rotaryDim: Math.min(rope.rotaryDim, narrowest) })),
    unembed: {
      ...spec.unembed,
      ...(norm.kind !== "none" && maybe(random, 0.7) && { transform: { activation: "silu" } }),
    },
  };
}

/** A tensor of the right shape for each weight the spec uses, most of the optional ones too. */
function randomWeights(random: Random, spec: ModelSpec): TensorEntry[] {
  const tensors: TensorEntry[] = [];
  for (const [name, use] of weightUses(spec)) {
    if (use === "optional" && maybe(random, 0.3)) continue;
    const transpose = /W_(?!E|pos)/.test(name) && maybe(random, 0.3);
    const source: TensorSource = {
      tensor: isPerBlock(name) ? `blocks.{i}.${name}` : name,
      ...(transpose && { transpose }),
    };
    spec.weights[name] = source;
    for (let layer = 0; layer < (isPerBlock(name) ? spec.nLayers : 1); layer++) {
      if (!isWeightOf(spec, name, layer)) continue;
      const shape = weightShape(spec, name, layer);
      tensors.push(
        randomTensor(random, source.tensor.replace("{i}", String(layer)), transpose ? shape.toReversed() : shape, name),
      );
    }
  }
  return tensors;
}

function randomTensor(random: Random, name: string, shape: readonly number[], weight: WeightName): TensorEntry {
  const count = shape.reduce((product, size) => product * size, 1);
  const deviation = shape.length > 1 && weight !== "embed.W_E" ? 1 / Math.sqrt(Math.min(...shape)) : 0.7;
  const values = gaussians(random, count, deviation);
  const [dtype, data] = pickOne<[TensorEntry["dtype"], ArrayBufferView]>(random, [
    ["F32", values],
    ["F32", values],
    ["F16", f32ToF16(values)],
    ["BF16", f32ToBf16(values)],
  ]);
  return { name, dtype, shape, data };
}

async function check(spec: ModelSpec, tensors: TensorEntry[], lengths: readonly number[]): Promise<void> {
  const config = { model_type: "custom", spec };
  using model = new Model(await loadParts(sourceOf({ config, tensors }), { gpu: await testGpu() }));
  const reference = new ReferenceDecoder(spec, lookupIn(spec, tensors));
  for (const length of lengths) {
    const ids = randomIds(model, length, length);
    const expected = reference.run(ids).flatMap((row) => [...row]);
    expect(relativeError(await readLogits(model.forward(ids)), expected), JSON.stringify(spec)).toBeLessThan(TOLERANCE);
  }
}

const SEEDS = Array.from({ length: 24 }, (_, seed) => seed);

describe("random specs", () => {
  it.each(byDay(SEEDS, SEEDS.slice(0, 3)))("number %d", async (seed) => {
    const random = seeded(1000 + seed);
    const spec = randomSpec(random);
    if (seed % 4 === 0) spec.attention.causal = false;
    await check(spec, randomWeights(random, spec), [1, 17]);
  });
});

describe("random specs with other heads", () => {
  it.each(byDay(SEEDS, SEEDS.slice(0, 3)))("number %d", async (seed) => {
    const random = seeded(2000 + seed);
    const spec = randomSpec(random);
    if (seed % 4 === 0) spec.attention.causal = false;
    const other = withOtherHeads(random, spec);
    await check(other, randomWeights(random, other), [1, 17]);
  });
});

describe("random specs with what few have", () => {
  it.each(byDay(SEEDS, SEEDS.slice(0, 3)))("number %d", async (seed) => {
    const random = seeded(2000 + seed);
    const spec = withRarities(random, randomSpec(random));
    if (seed % 4 === 3) spec.attention.causal = false;
    await check(spec, randomWeights(random, spec), [1, 17]);
  });
});

describe("odd widths", () => {
  it("dModel 6, dMlp 10, dHead 4, vocabulary 7", async () => {
    const random = seeded(6);
    const spec: ModelSpec = {
      ...randomSpec(random),
      ...{ nLayers: 2, dModel: 6, dMlp: 10, dHead: 4, nHeads: 3, nKvHeads: 3, vocabSize: 7 },
      positions: { kind: "learned", offset: 0 },
      norm: { kind: "none", eps: 0, weightOffset: 0 },
      embed: { scale: 1, norm: false },
      block: { norms: "pre", residual: "sequential", parallelSharedNorm: false, residualScale: 1 },
      attention: { scale: 20, softCap: null, qkNorm: "none", qkNormSpec: { kind: "none", eps: 0, weightOffset: 0 } },
      mlp: { kind: "plain", activation: "relu" },
      layers: [
        { window: null, rope: null },
        { window: 4, rope: null, attentionScale: 3, dMlp: 5 },
      ],
      ropes: [],
      unembed: { tied: true, scale: 1, softCap: null },
      weights: {},
    };
    await check(spec, randomWeights(random, spec), [1, 2, 5, 30]);
  });
});
