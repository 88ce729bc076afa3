/** Direct logit attribution against its definition, term by term, and against the logits of the run. */
import { describe, expect, it } from "vitest";
import { HookError } from "../../src/errors.ts";
import { HookedModel } from "../../src/hooks/hooked-model.ts";
import { decomposeResid, directLogitAttribution, logitLens } from "../../src/hooks/readouts/index.ts";
import { specFromConfig } from "../../src/model/families/index.ts";
import { loadParts } from "../../src/model/load.ts";
import { Model } from "../../src/model/model.ts";
import { FAMILIES, fixtureFiles, loadFixture, sourceOf } from "../support/fixtures.ts";
import { testGpu } from "../support/gpu.ts";
import { byDay } from "../support/nightly.ts";
import { relativeError } from "../support/numbers.ts";
import {
  capture,
  headParts,
  logitBiases,
  NAMES,
  neuronParts,
  normed,
  type Subject,
  subjectOf,
  unembed,
  vectorAt,
} from "./definitions.ts";

/** float32; seen: up to 1e-6 of the largest contribution. */
const TOLERANCE = 5e-6;
const WIDTH = 32;
const LAYERS = 3;
/** A token for the first row's logit, and one more for the difference. */
const [A, B] = [17, 58];

/** The logit difference before the soft cap that the run's own logits imply. */
async function runLogit(subject: Subject, row: number, position: number, tokens: readonly number[]): Promise<number> {
  using result = await subject.model.forward(subject.ids);
  const logits = await result.logits.at(row, position);
  const cap = subject.family.softCap;
  const inside = (token: number) =>
    cap ? cap * Math.atanh((logits[token] as number) / cap) : (logits[token] as number);
  return tokens.length === 1 ? inside(tokens[0] as number) : inside(tokens[0] as number) - inside(tokens[1] as number);
}

/** Every component's contribution at one place, by the definition. */
async function defined(
  subject: Subject,
  row: number,
  position: number,
  tokens: readonly number[],
): Promise<Map<string, number>> {
  const { family } = subject;
  const every = (point: string) => Array.from({ length: LAYERS }, (_, layer) => `blocks.${layer}.${point}`);
  const embed = family.embeddingNorm ? "blocks.0.hook_resid_pre" : "hook_embed";
  const names = [
    embed,
    ...(family.learnedPositions ? ["hook_pos_embed"] : []),
    ...every("hook_attn_out"),
    ...every("hook_mlp_out"),
  ];
  const read = await capture(subject, [
    ...names,
    ...every("attn.hook_z"),
    ...every("mlp.hook_post"),
    "ln_final.hook_scale",
  ]);
  const index = row * 9 + position;
  const vector = (name: string) => vectorAt(read(name), index, read(name).length / 18);
  const scale = read("ln_final.hook_scale")[index] as number;
  const signed = (value: (token: number) => number) =>
    tokens.reduce((sum, token, place) => sum + (place === 0 ? 1 : -1) * value(token), 0);
  const contribution = (x: number[]) =>
    signed((token) => unembed(subject, normed(subject, x, family.finalNorm, undefined, scale), token));
  const terms = new Map<string, number>([["embed", contribution(vector(embed))]]);
  if (family.learnedPositions) terms.set("pos_embed", contribution(vector("hook_pos_embed")));
  for (let layer = 0; layer < LAYERS; layer++) {
    terms.set(`${layer}_attn_out`, contribution(vector(`blocks.${layer}.hook_attn_out`)));
    terms.set(`${layer}_mlp_out`, contribution(vector(`blocks.${layer}.hook_mlp_out`)));
    const heads = headParts(subject, layer, vector(`blocks.${layer}.attn.hook_z`));
    for (const [head, part] of heads.parts.entries()) terms.set(`L${layer}H${head}`, contribution(part));
    if (heads.bias) terms.set(`${layer}_attn_bias`, contribution(heads.bias));
    const neurons = neuronParts(subject, layer, vector(`blocks.${layer}.mlp.hook_post`));
    for (const [neuron, part] of neurons.parts.entries()) terms.set(`L${layer}N${neuron}`, contribution(part));
    if (neurons.bias) terms.set(`${layer}_mlp_bias`, contribution(neurons.bias));
  }
  if (family.finalBias)
    terms.set(
      "ln_final_bias",
      signed((token) => logitBiases(subject, token).norm),
    );
  if (family.unembedBias)
    terms.set(
      "unembed_bias",
      signed((token) => logitBiases(subject, token).unembed),
    );
  return terms;
}

describe.each(NAMES)("%s", (name) => {
  it.each(["component", "head", "neuron"] as const)(
    "attributes a logit difference and a logit by %s as defined",
    async (by) => {
      const subject = await subjectOf(name);
      using model = subject.model;
      for (const [tokens, position] of [
        [[A, B], -1],
        [A, 4],
      ] as const) {
        const result = await directLogitAttribution(model, subject.ids, { tokens, position, by });
        expect(result.softCap).toBe(subject.family.softCap ?? null);
        for (const [row, ids] of subject.ids.entries()) {
          const at = position < 0 ? ids.length + position : position;
          const list = typeof tokens === "number" ? [tokens] : tokens;
          const expected = await defined(subject, row, at, list);
          const mine = result.labels.map((_, index) => result.values[index * 2 + row] as number);
          expect(
            relativeError(
              mine,
              result.labels.map((label) => expected.get(label) ?? Number.NaN),
            ),
          ).toBeLessThan(TOLERANCE);
          const largest = Math.max(...mine.map(Math.abs));
          const sum = mine.reduce((total, value) => total + value, 0);
          expect(Math.abs(sum - (await runLogit(subject, row, at, list))) / largest).toBeLessThan(2e-5);
          expect(Math.abs(sum - (result.total[row] as number)) / largest).toBeLessThan(TOLERANCE);
          expect(Math.abs((result.remainder[row] as number) - ((result.total[row] as number) - sum))).toBeLessThan(
            1e-9,
          );
        }
        const split = {
          component: /^\d_(attn|mlp)_out$/,
          head: /^(L\dH\d|\d_mlp_out|\d_attn_bias)$/,
          neuron: /^(L\dN\d+|\d_attn_out|\d_mlp_bias)$/,
        }[by];
        const others = result.labels.filter((label) => !split.test(label));
        const constants = [
          subject.family.finalBias && "ln_final_bias",
          subject.family.unembedBias && "unembed_bias",
        ].filter(Boolean);
        expect(others).toEqual(["embed", ...(subject.family.learnedPositions ? ["pos_embed"] : []), ...constants]);
      }
    },
  );
});

describe("every family", () => {
  /** Norms with and without a mean, before and after; biases; heads that share keys; a soft cap; scaled logits. */
  const DAY = ["bloom", "cohere", "gemma2", "gpt2", "gptj", "granite", "olmo2", "qwen2"];

  it.each(byDay(FAMILIES, DAY))("%s: contributions sum to the logit difference", async (family) => {
    using model = new HookedModel(await loadFixture(family));
    const ids = [
      [2, 71, 8, 28, 18, 28, 45],
      [90, 45, 23],
    ];
    using run = await model.forward(ids, { logits: "last" });
    for (const row of [0, 1]) {
      const logits = await run.logits.at(row, -1);
      const cap = model.spec.unembed.softCap;
      const inside = (token: number) =>
        cap ? cap * Math.atanh((logits[token] as number) / cap) : (logits[token] as number);
      for (const by of ["component", "head", "neuron"] as const) {
        const result = await directLogitAttribution(model, ids, { tokens: [A, B], by });
        const values = result.labels.map((label) => result.at(label, row));
        const sum = values.reduce((total, value) => total + value, 0);
        expect(Math.abs(sum - (inside(A) - inside(B))) / Math.max(...values.map(Math.abs))).toBeLessThan(2e-5);
      }
    }
  });
});

describe("direct logit attribution", () => {
  it("holds without norms, where the logit is linear in the residual", async () => {
    const files = await fixtureFiles("gpt2");
    const spec = specFromConfig(files.config, "gpt2");
    const weights = Object.fromEntries(Object.entries(spec.weights).filter(([name]) => !name.startsWith("ln")));
    const bare = { ...spec, weights, norm: { kind: "none", eps: 0, weightOffset: 0 } };
    const source = sourceOf({ ...files, config: { model_type: "custom", spec: bare } });
    using model = new HookedModel(new Model(await loadParts(source, { gpu: await testGpu() })));
    const ids = [[4, 8, 15, 16, 23]];
    using run = await model.forward(ids);
    const logit = (await run.logits.at(0, -1))[A] as number;
    for (const by of ["component", "head", "neuron"] as const) {
      const result = await directLogitAttribution(model, ids, { tokens: A, by });
      const sum = result.values.reduce((total, value) => total + value, 0);
      expect(Math.abs(sum - logit) / Math.max(...result.values.map(Math.abs))).toBeLessThan(TOLERANCE);
      expect(result.labels).not.toContain("ln_final_bias");
    }
    using lens = await logitLens(model, ids, { applyFinalNorm: "run", tokens: [A], positions: [-1] });
    expect(lens.at("final_post")[0]?.logit).toBeCloseTo(logit, 5);
    await expect(decomposeResid(model, ids, { applyLn: true })).rejects.toThrow(/needs norms/);
  });

  it("takes tokens of each row's own", async () => {
    const subject = await subjectOf("gpt2");
    using model = subject.model;
    const both = await directLogitAttribution(model, subject.ids, { tokens: [[A, B], [B]] });
    const first = await directLogitAttribution(model, subject.ids, { tokens: [A, B] });
    const second = await directLogitAttribution(model, subject.ids, { tokens: B });
    for (const label of both.labels) {
      expect(both.at(label, 0)).toBeCloseTo(first.at(label, 0), 6);
      expect(both.at(label, 1)).toBeCloseTo(second.at(label, 1), 6);
    }
    expect(both.top(3, 1)[0]?.label).toBe(second.top(1, 1)[0]?.label);
    await expect(directLogitAttribution(model, subject.ids, { tokens: [[A], [B], [A]] })).rejects.toThrow(
      /3 lists for a batch of 2/,
    );
    await expect(directLogitAttribution(model, subject.ids, { tokens: [A, B, 3] })).rejects.toThrow(
      /\[17, 58, 3\], where one token/,
    );
    for (const tokens of [[A, undefined], [[A, undefined]]]) {
      await expect(directLogitAttribution(model, subject.ids, { tokens: tokens as never })).rejects.toThrow(HookError);
    }
    await expect(directLogitAttribution(model, subject.ids, { tokens: 96 })).rejects.toThrow(/0 to 95/);
    await expect(directLogitAttribution(model, subject.ids, { tokens: A, position: 6 })).rejects.toThrow(
      /no position 6/,
    );
    expect(() => both.at("0_atn_out")).toThrow(/Nearest: 0_attn_out/);
  });

  it("explains an edited run by what its components then are, and says what no component explains", async () => {
    const subject = await subjectOf("gpt2");
    using model = subject.model;
    const value = Float32Array.from({ length: WIDTH }, (_, d) => Math.sin(d));
    const plain = await directLogitAttribution(model, subject.ids, { tokens: A });
    await model.withEdits([{ at: "blocks.1.attn.hook_result", op: "zero", heads: [2] }], async (edited) => {
      const result = await directLogitAttribution(edited, subject.ids, { tokens: A, by: "head" });
      expect(result.at("L1H2", 1)).toBe(0);
      expect(Math.abs(result.remainder[0] as number)).toBeLessThan(1e-5);
      expect(Math.abs((result.total[0] as number) - (plain.total[0] as number))).toBeGreaterThan(1e-3);
    });
    await model.withEdits([{ at: "ln_final.hook_scale", op: "scale", value: 2 }], async (edited) => {
      const result = await directLogitAttribution(edited, subject.ids, { tokens: A });
      expect(result.at("0_mlp_out")).toBeCloseTo(plain.at("0_mlp_out") / 2, 5);
      expect(Math.abs(result.remainder[0] as number)).toBeLessThan(1e-5);
    });
    await model.withEdits([{ at: "blocks.2.hook_resid_post", op: "add", value }], async (edited) => {
      const result = await directLogitAttribution(edited, subject.ids, { tokens: A });
      using run = await edited.forward(subject.ids, { capture: "ln_final.hook_scale" });
      const scale = (await run.cache.read("ln_final.hook_scale"))[8] as number;
      const expected = unembed(subject, normed(subject, [...value], "transformer.ln_f.weight", undefined, scale), A);
      expect(result.remainder[0]).toBeCloseTo(expected, 5);
    });
  });
});
