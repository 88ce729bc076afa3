/** A custom config carries its spec: every family's spec passes through it, and a spec that does not hold is refused. */
import { describe, expect, it } from "vitest";
import { ConfigError } from "../../src/errors.ts";
import { specFromConfig } from "../../src/model/families/index.ts";
import type { ModelSpec } from "../../src/model/spec.ts";
import { weightShape, widestMlp } from "../../src/model/weights/table.ts";
import { FIXTURES, fixtureConfig } from "./fixtures.ts";

/** A spec without norms or MLP, with learned positions and an attention scale of its own. */
const MINIMAL: ModelSpec = {
  family: "custom",
  nLayers: 2,
  dModel: 8,
  nHeads: 2,
  nKvHeads: 2,
  dHead: 3,
  dMlp: 0,
  vocabSize: 5,
  maxPositions: 16,
  embed: { scale: 1, norm: false },
  positions: { kind: "learned", offset: 0 },
  norm: { kind: "none", eps: 0, weightOffset: 0 },
  block: { norms: "pre", residual: "sequential", parallelSharedNorm: false, residualScale: 1 },
  attention: { scale: 100, softCap: null, qkNorm: "none", qkNormSpec: { kind: "none", eps: 0, weightOffset: 0 } },
  mlp: { kind: "plain", activation: "relu", absent: true },
  layers: [
    { window: null, rope: null },
    { window: 4, rope: null, attentionScale: 50 },
  ],
  ropes: [],
  unembed: { tied: true, scale: 1, softCap: null },
  weights: {
    "embed.W_E": { tensor: "W_E" },
    "embed.W_pos": { tensor: "W_pos" },
    "attn.W_Q": { tensor: "blocks.{i}.W_Q" },
    "attn.W_K": { tensor: "blocks.{i}.W_K" },
    "attn.W_V": { tensor: "blocks.{i}.W_V" },
    "attn.W_O": { tensor: "blocks.{i}.W_O", transpose: true },
    "attn.b_O": { tensor: "blocks.{i}.b_O", optional: true },
  },
};

const parse = (spec: unknown) => specFromConfig({ model_type: "custom", spec }, "config.json");

function failure(config: unknown): ConfigError {
  try {
    specFromConfig(config, "config.json");
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    return error as ConfigError;
  }
  throw new Error("expected a ConfigError");
}

const fixtureSpec = (fixture: string) => specFromConfig(fixtureConfig(fixture), fixture);

describe("a custom config", () => {
  it("takes a spec as it is", () => {
    expect(parse(MINIMAL)).toEqual(MINIMAL);
  });

  it.each(FIXTURES)("takes the spec of %s, as JSON", (fixture) => {
    const spec = fixtureSpec(fixture);
    expect(parse(JSON.parse(JSON.stringify(spec)))).toEqual(spec);
  });

  it("lets MLPs differ in width from block to block", () => {
    const base = fixtureSpec("gpt2");
    const spec = { ...base, layers: base.layers.map((layer, i) => ({ ...layer, ...(i > 0 && { dMlp: 8 * i }) })) };
    expect(parse(spec)).toEqual(spec);
    expect([0, 1, 2].map((layer) => weightShape(spec, "mlp.W_in", layer)[0])).toEqual([spec.dMlp, 8, 16]);
    expect(weightShape(spec, "mlp.W_out", 1)).toEqual([spec.dModel, 8]);
    expect(widestMlp(spec)).toBe(spec.dMlp);
  });

  it("refuses keys beside the spec", () => {
    const error = failure({ model_type: "custom", spec: MINIMAL, hidden_size: 8 });
    expect(error.message).toContain("hidden_size is not a key of a custom config");
  });
});

const llama = fixtureSpec("llama");
const llama3 = fixtureSpec("llama3_rope");
const bloom = fixtureSpec("bloom");
const phi3 = fixtureSpec("phi3");
const olmo2 = fixtureSpec("olmo2");

const weight = (spec: ModelSpec, name: keyof ModelSpec["weights"], changes: object) => ({
  ...spec,
  weights: { ...spec.weights, [name]: { ...spec.weights[name], ...changes } },
});
const rope = (changes: object) => ({ ...llama3, ropes: [{ ...llama3.ropes[0], ...changes }] });

describe("a spec that does not hold is refused", () => {
  it.each<[string, unknown]>([
    ["spec is missing; it must be an object", undefined],
    ["spec.nLayers is missing", { ...MINIMAL, nLayers: undefined }],
    ["spec.nLayers is 1.5; it must be a whole number of at least 1", { ...MINIMAL, nLayers: 1.5 }],
    ['there is no "dmodel" in spec. The nearest is "dModel"', { ...MINIMAL, dmodel: 8 }],
    ["spec.embed.scale is null; it must be a finite number", { ...MINIMAL, embed: { scale: null, norm: false } }],
    ['spec.norm.kind is "batch"', { ...MINIMAL, norm: { ...MINIMAL.norm, kind: "batch" } }],
    [
      "spec.attention.softCap is 0; it must be a positive number",
      { ...MINIMAL, attention: { ...MINIMAL.attention, softCap: 0 } },
    ],
    ['spec.mlp.activation is "prelu"', { ...MINIMAL, mlp: { ...MINIMAL.mlp, activation: "prelu" } }],
    ["spec.attention.clamp is 0", { ...MINIMAL, attention: { ...MINIMAL.attention, clamp: 0 } }],
    [
      'attention.sinks needs positions other than "alibi"',
      { ...bloom, attention: { ...bloom.attention, sinks: true } },
    ],
    [
      'block.normedResidual needs block.residual "sequential" and block.norms "pre"',
      { ...llama, block: { ...llama.block, norms: "added", normedResidual: true } },
    ],
    [
      "scaling has 3 and 4 factors for 4 frequencies",
      rope({
        scaling: {
          ...{ kind: "longrope", shortFactors: [1, 1, 1], longFactors: [1, 1, 1, 1] },
          ...{ originalMaxPositions: 8, attentionFactor: 1 },
        },
      }),
    ],
    ['tensor = "q.{i}.{h}" has {h}, but no heads', weight(llama, "attn.W_Q", { tensor: "q.{i}.{h}" })],
    ["spec.layers[1].window is 0", { ...MINIMAL, layers: [MINIMAL.layers[0], { window: 0, rope: null }] }],
    [
      "spec.layers[0].dMlp is 0; it must be a whole number of at least 1",
      { ...llama, layers: [{ ...llama.layers[0], dMlp: 0 }] },
    ],
    [
      'weights["mlp.W_in"].rows takes 64 rows, but 32 are needed',
      {
        ...weight(llama, "mlp.W_in", { rows: { groups: 1, groupSize: 64, start: 0, count: 64 } }),
        layers: llama.layers.map((layer, i) => (i === 1 ? { ...layer, dMlp: 32 } : layer)),
      },
    ],
    ['there is no "slopes" in spec.positions', { ...MINIMAL, positions: { kind: "none", slopes: [1] } }],
    ['spec.positions.kind is "absolute"', { ...MINIMAL, positions: { kind: "absolute" } }],
    ["spec.layers has 1 entries, but nLayers = 2", { ...MINIMAL, layers: MINIMAL.layers.slice(1) }],
    ["spec.nHeads = 2 is not a multiple of nKvHeads = 4", { ...MINIMAL, nKvHeads: 4 }],
    ["spec.dMlp = 0, but the blocks have an MLP", { ...MINIMAL, mlp: { ...MINIMAL.mlp, absent: false } }],
    [
      "spec.layers[2].rope = 1, but ropes has 1 entries",
      { ...llama, layers: [...llama.layers.slice(1), { window: null, rope: 1 }] },
    ],
    ["spec.ropes[0].rotaryDim = 7 is odd", rope({ rotaryDim: 7 })],
    ["spec.ropes[0].rotaryDim = 10 is more than dHead = 8", rope({ rotaryDim: 10 })],
    ["spec.ropes[0].theta is 0", rope({ theta: 0 })],
    ["spec.ropes[0].scaling.factor is missing", rope({ scaling: { kind: "linear" } })],
    ['spec.ropes[0].scaling.kind is "ntk"', rope({ scaling: { kind: "ntk" } })],
    ["spec.ropes[0].scaling.shortFactors is missing", rope({ scaling: { kind: "longrope" } })],
    [
      "highFreqFactor must be more than lowFreqFactor",
      rope({ scaling: { ...llama3.ropes[0]?.scaling, highFreqFactor: 1 } }),
    ],
    [
      "rotaryDim = 2 is too small for dynamic",
      rope({ rotaryDim: 2, scaling: { kind: "dynamic", factor: 2, originalMaxPositions: 8 } }),
    ],
    [
      "spec.positions.slopes has 3 entries, but nHeads = 4",
      { ...bloom, positions: { kind: "alibi", slopes: [1, 2, 3] } },
    ],
    [
      'block.parallelSharedNorm needs block.residual "parallel"',
      { ...llama, block: { ...llama.block, parallelSharedNorm: true } },
    ],
    ['needs block.norms "pre", not "post"', { ...olmo2, block: { ...olmo2.block, residual: "parallel" } }],
    ['embed.norm is true, but norm.kind is "none"', { ...MINIMAL, embed: { scale: 1, norm: true } }],
    ['weights lacks "embed.W_pos"', { ...MINIMAL, weights: { ...MINIMAL.weights, "embed.W_pos": undefined } }],
    ['weights lacks "unembed.W_U"', { ...MINIMAL, unembed: { ...MINIMAL.unembed, tied: false } }],
    ['weights lacks "ln1.w"', { ...MINIMAL, norm: { kind: "rms", eps: 1e-6, weightOffset: 0 } }],
    ['weights lacks "attn.qNorm.w"', { ...llama, attention: { ...llama.attention, qkNorm: "head" } }],
    ['weights lacks "mlp.W_in"', { ...MINIMAL, dMlp: 4, mlp: { kind: "plain", activation: "relu" } }],
    ['weights has "mlp.W_gate", for which this spec has no use', { ...llama, mlp: { ...llama.mlp, kind: "plain" } }],
    ['weights has "unembed.W_U", for which', weight(MINIMAL, "unembed.W_U", { tensor: "W_U" })],
    [
      'there is no "attn.W_X" in spec.weights',
      { ...MINIMAL, weights: { ...MINIMAL.weights, "attn.W_X": { tensor: "x" } } },
    ],
    ["spec.weights.embed.W_E.tensor is missing", { ...MINIMAL, weights: { ...MINIMAL.weights, "embed.W_E": {} } }],
    ['weights["attn.W_Q"].tensor = "W_Q" lacks {i}', weight(MINIMAL, "attn.W_Q", { tensor: "W_Q" })],
    ['weights["embed.W_E"].tensor = "E.{i}" has {i}', weight(MINIMAL, "embed.W_E", { tensor: "E.{i}" })],
    ['weights["embed.W_E"].tensor is empty', weight(MINIMAL, "embed.W_E", { tensor: "" })],
    ['weights["attn.W_Q"].optional is true, but it is needed', weight(MINIMAL, "attn.W_Q", { optional: true })],
    [
      'weights["attn.W_K"].rows takes 32 rows, but 16 are needed',
      weight(phi3, "attn.W_K", { rows: { groups: 1, groupSize: 64, start: 32, count: 32 } }),
    ],
    [
      'weights["attn.W_V"].rows ends at 66 in a group of 64',
      weight(phi3, "attn.W_V", { rows: { groups: 1, groupSize: 64, start: 50, count: 16 } }),
    ],
  ])("%s", (message, spec) => {
    const error = failure({ model_type: "custom", spec });
    expect(error.code).toBe("config/spec");
    expect(error.message).toMatch(/^config\.json: (spec|there is no ".*" in spec)/);
    expect(error.message).toContain(message);
  });

  it("lists everything that does not fit together", () => {
    const { message } = failure({ model_type: "custom", spec: { ...MINIMAL, nKvHeads: 4, layers: [] } });
    expect(message).toContain("nKvHeads = 4");
    expect(message).toContain("layers has 0 entries");
  });
});
