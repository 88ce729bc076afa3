/**
 * Small models made for tests of attribution: of weights large enough that a patch changes much, unlike those of the
 * fixtures, whose changes are hardly more than rounding. With curves of every kind, or with none after the last attention.
 */
import { HookedModel } from "../../src/hooks/hooked-model.ts";
import { loadParts } from "../../src/model/load.ts";
import { Model } from "../../src/model/model.ts";
import type { ModelSpec } from "../../src/model/spec.ts";
import { isPerBlock, weightShape, weightUses } from "../../src/model/weights/table.ts";
import { entryOf, sourceOf } from "../support/fixtures.ts";
import { testGpu } from "../support/gpu.ts";
import { gaussians, seeded } from "../support/numbers.ts";

const NO_NORM = { kind: "none", eps: 0, weightOffset: 0 } as const;

const SHARED = {
  ...{ family: "custom", nLayers: 2, dModel: 12, nHeads: 4, nKvHeads: 4, dHead: 4, dMlp: 10, vocabSize: 96 },
  maxPositions: 64,
  embed: { scale: 1, norm: false },
  block: { norms: "pre", residual: "sequential", parallelSharedNorm: false, residualScale: 1 },
  unembed: { tied: true, scale: 1, softCap: null },
  weights: {},
} as const satisfies Partial<ModelSpec>;

/** `straight` is linear from the last attention's values on; the others are GPT-2's and LLaMA's kind of curves. */
export const MADE = {
  straight: {
    ...SHARED,
    positions: { kind: "learned", offset: 0 },
    norm: NO_NORM,
    attention: { scale: 0.5, softCap: null, qkNorm: "none", qkNormSpec: NO_NORM },
    mlp: { kind: "plain", activation: "identity" },
    layers: [plainLayer(), plainLayer()],
    ropes: [],
  },
  layerNorm: {
    ...SHARED,
    positions: { kind: "learned", offset: 0 },
    norm: { kind: "layer", eps: 1e-5, weightOffset: 0 },
    attention: { scale: 0.5, softCap: null, qkNorm: "none", qkNormSpec: NO_NORM },
    mlp: { kind: "plain", activation: "gelu_tanh" },
    layers: [plainLayer(), plainLayer()],
    ropes: [],
  },
  rmsNorm: {
    ...SHARED,
    nKvHeads: 2,
    positions: { kind: "none" },
    norm: { kind: "rms", eps: 1e-5, weightOffset: 0 },
    attention: { scale: 0.5, softCap: 4, qkNorm: "none", qkNormSpec: NO_NORM },
    mlp: { kind: "gated", activation: "silu" },
    layers: [
      { window: null, rope: 0 },
      { window: 5, rope: 0 },
    ],
    ropes: [{ theta: 100, rotaryDim: 4, style: "half", scaling: { kind: "none" } }],
  },
} as const satisfies Record<string, ModelSpec>;

function plainLayer() {
  return { window: null, rope: null };
}

export async function madeModel(kind: keyof typeof MADE): Promise<HookedModel> {
  const spec: ModelSpec = MADE[kind];
  const random = seeded(11);
  const names = [...weightUses(spec)].flatMap(([name, use]) => (use === "optional" ? [] : [name]));
  const stored = (name: (typeof names)[number]) => (isPerBlock(name) ? `blocks.{i}.${name}` : name);
  const weights = Object.fromEntries(names.map((name) => [name, { tensor: stored(name) }]));
  const tensors = names.flatMap((name) =>
    Array.from({ length: isPerBlock(name) ? spec.nLayers : 1 }, (_, layer) => {
      const shape = weightShape(spec, name, layer);
      const count = shape.reduce((product, size) => product * size, 1);
      const isNorm = /(ln\d|norm).*\.w$/i.test(name);
      const values = gaussians(random, count, isNorm ? 0.2 : 0.5, isNorm ? 1 : 0);
      return entryOf(stored(name).replace("{i}", String(layer)), shape, values);
    }),
  );
  const source = sourceOf({ config: { model_type: "custom", spec: { ...spec, weights } }, tensors });
  return new HookedModel(new Model(await loadParts(source, { gpu: await testGpu() })));
}
