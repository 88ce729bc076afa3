/** Integrated gradients are complete, and scores of tokens are what their names say. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  type Edit,
  gradientTimesActivation,
  type HookedModel,
  type IntegratedGradientsOptions,
  integratedGradients,
  metric,
  saliency,
} from "../../src/hooks/index.ts";
import { failureOf } from "../hooks/support.ts";
import { promptPair } from "../patching/support.ts";
import { relativeError } from "../support/numbers.ts";
import { madeModel } from "./made-models.ts";

const DIFF = metric.logitDiff(3, 40);
const { clean, corrupted } = promptPair(5);
const POSITIONS = clean.map((_, position) => position);

let model: HookedModel;
let straight: HookedModel;
beforeAll(async () => {
  model = await madeModel("layerNorm");
  straight = await madeModel("straight");
});
afterAll(() => {
  model.destroy();
  straight.destroy();
});

/** The metric of a prompt, with edits. */
async function measured(ids: number[], edits: Edit[] = [], of = model): Promise<number> {
  return (await of.sweep({ input: ids, cells: [edits], metric: DIFF })).values[0] as number;
}

const total = (values: Float32Array) => values.reduce((sum, value) => sum + value, 0);

describe("integrated gradients", () => {
  it.each<[string, Partial<IntegratedGradientsOptions>]>([
    ["embeddings, from another prompt", { baseline: corrupted }],
    ["a residual, from another prompt", { baseline: corrupted, at: "blocks.1.hook_resid_pre" }],
    ["neurons, from zeros", { at: "blocks.1.mlp.hook_post" }],
    ["heads, from another prompt", { baseline: corrupted, at: "blocks.0.attn.hook_z" }],
    ["patterns, from another prompt", { baseline: corrupted, at: "blocks.1.attn.hook_pattern" }],
  ])("of %s add up, the better the more steps", async (_, options) => {
    const gaps: number[] = [];
    for (const steps of [2, 8, 64]) {
      const found = await integratedGradients(model, { input: clean, metric: DIFF, steps, ...options });
      expect(found.gap).toBeCloseTo(found.sum - (found.value - found.baseline), 6);
      expect(found.sum).toBeCloseTo(total(found.attributions), 4);
      expect(found.sum).toBeCloseTo(total(found.scores), 4);
      expect(found.attributions.length).toBe(found.shape.reduce((product, size) => product * size, 1));
      gaps.push(Math.abs(found.gap) / Math.abs(found.value - found.baseline));
    }
    expect(gaps[2]).toBeLessThan(5e-3);
    expect(gaps[2]).toBeLessThan(Math.max((gaps[0] as number) / 20, 2e-4));
    expect(gaps[1]).toBeLessThan(Math.max(gaps[0] as number, 2e-3));
  });

  it("from zeros before a norm are not complete, and say so: the norm turns at the very beginning of the path", async () => {
    const found = await integratedGradients(model, {
      input: clean,
      metric: DIFF,
      at: "blocks.1.hook_resid_pre",
      steps: 8,
    });
    expect(Math.abs(found.gap)).toBeGreaterThan(0.2 * Math.abs(found.value - found.baseline));
  });

  it("have the metric of the prompt and of the baseline", async () => {
    const found = await integratedGradients(model, { input: clean, baseline: corrupted, metric: DIFF, steps: 1 });
    expect(
      relativeError([found.value, found.baseline], [await measured(clean), await measured(corrupted)]),
    ).toBeLessThan(1e-5);
    const at = "blocks.1.attn.hook_z";
    const cut = await integratedGradients(model, { input: clean, metric: DIFF, at, steps: 1 });
    expect(cut.baseline).toBeCloseTo(await measured(clean, [{ at, op: "zero" }]), 4);
  });

  it("are mean gradients times the distance, in one batch or several", async () => {
    const ids = [...clean, ...corrupted, ...clean.slice(0, 3)];
    const baseline = [...corrupted, ...clean, ...corrupted.slice(0, 3)];
    const steps = 13; // 12 of them fit in a batch
    const at = "blocks.1.hook_resid_pre";
    const [own, other] = [await model.forward(ids, { capture: at }), await model.forward(baseline, { capture: at })];
    const [from, to] = [await other.cache.read(at), await own.cache.read(at)];
    const sums = new Float64Array(to.length);
    for (let step = 0; step < steps; step++) {
      const share = (step + 0.5) / steps;
      const value = to.map((entry, index) => (from[index] as number) + share * (entry - (from[index] as number)));
      const run = await model.backward(ids, { metric: DIFF, at, edits: { at, op: "set", value } });
      for (const [index, gradient] of (await run.grads.read(at)).entries())
        sums[index] = (sums[index] as number) + gradient;
      run.destroy();
    }
    const expected = to.map((entry, index) => ((entry - (from[index] as number)) * (sums[index] as number)) / steps);
    const found = await integratedGradients(model, { input: ids, baseline, metric: DIFF, at, steps });
    expect(relativeError(found.attributions, expected)).toBeLessThan(1e-4);
    own.destroy();
    other.destroy();
  });

  it("need one step where the model is linear, and are then the patch itself", async () => {
    const at = "blocks.1.hook_resid_post";
    const options = { input: clean, baseline: corrupted, metric: DIFF, at, steps: 1 };
    const { gap, scores, value, baseline } = await integratedGradients(straight, options);
    expect(Math.abs(gap)).toBeLessThan(1e-5 * Math.abs(value - baseline));
    // Only the last position reaches the metric.
    expect([...scores.slice(0, -1)]).toEqual(POSITIONS.slice(1).map(() => 0));
  });

  it("take embeddings as a baseline: zeros given are the zeros by default", async () => {
    const zeros = { inputsEmbeds: [new Float32Array(clean.length * model.spec.dModel)] };
    const given = await integratedGradients(model, { input: clean, metric: DIFF, baseline: zeros, steps: 3 });
    const none = await integratedGradients(model, { input: clean, metric: DIFF, steps: 3 });
    expect(relativeError(given.attributions, none.attributions)).toBeLessThan(1e-5);
    expect(given.at).toBe("hook_embed");
  });

  it("of the logits from those of another prompt are the change of the logits that count", async () => {
    const options = { input: clean, baseline: corrupted, metric: DIFF, at: "logits", steps: 2 };
    const { gap, scores, value, baseline } = await integratedGradients(model, options);
    expect(value).not.toBe(baseline);
    expect(Math.abs(gap)).toBeLessThan(1e-5);
    expect([...scores.slice(0, -1)].every((score) => score === 0)).toBe(true);
    expect(scores.at(-1)).toBeCloseTo(value - baseline, 5);
  });

  it("of kl compare with the prompt itself", async () => {
    const found = await integratedGradients(model, {
      input: clean,
      baseline: corrupted,
      metric: metric.kl(),
      steps: 64,
    });
    expect(Math.abs(found.value)).toBeLessThan(1e-5);
    expect(found.baseline).toBeGreaterThan(0.1);
    expect(Math.abs(found.gap)).toBeLessThan(0.02 * found.baseline);
  });
});

describe("scores of tokens", () => {
  const at = "blocks.1.hook_resid_pre";

  /** The change of the metric as one position's activation grows, by central differences. */
  async function growth(position: number): Promise<number> {
    const scaled = (value: number) => measured(clean, [{ at, op: "scale", value, positions: [position] }]);
    return ((await scaled(1.01)) - (await scaled(0.99))) / 0.02;
  }

  it("gradient times activation is the slope of scaling a position", async () => {
    const found = await gradientTimesActivation(model, { input: clean, metric: DIFF, at });
    const expected = await Promise.all(POSITIONS.map(growth));
    expect(relativeError(found.scores, expected)).toBeLessThan(3e-3);
    expect(found.value).toBeCloseTo(await measured(clean), 4);
    expect(found.positions.indices).toEqual(POSITIONS);
  });

  it("saliency is the steepest slope: that of a step along the gradient", async () => {
    const found = await saliency(model, { input: clean, metric: DIFF, at });
    const run = await model.backward(clean, { metric: DIFF, at });
    for (const position of [4, clean.length - 1]) {
      const gradient = await run.grads.read(at, { positions: [position] });
      const length = Math.hypot(...gradient);
      const moved = (alpha: number) =>
        measured(clean, [{ at, op: "add", alpha, positions: [position], value: gradient.map((x) => x / length) }]);
      const slope = ((await moved(0.005)) - (await moved(-0.005))) / 0.01;
      expect(Math.abs(slope / (found.scores[position] as number) - 1)).toBeLessThan(5e-3);
    }
    run.destroy();
  });

  it("are of the embeddings by default, and sum heads and keys to their query", async () => {
    const embed = await gradientTimesActivation(model, { input: clean, metric: DIFF });
    expect(embed.at).toBe("hook_embed");
    const pattern = "blocks.1.attn.hook_pattern";
    const found = await gradientTimesActivation(model, { input: clean, metric: DIFF, at: pattern, metricPosition: 4 });
    const run = await model.backward(clean, { metric: DIFF, at: pattern, position: 4 });
    const dot = async (query: number) => {
      const part = { positions: [query] };
      const [a, b] = [await run.cache.read(pattern, part), await run.grads.read(pattern, part)];
      return a.reduce((sum, value, index) => sum + value * (b[index] as number), 0);
    };
    for (const query of POSITIONS) expect(found.scores[query]).toBeCloseTo(await dot(query), 5);
    expect(found.scores[4]).not.toBe(0);
    expect(found.scores[5]).toBe(0);
    run.destroy();
  });

  it("of scores leave out what no query sees", async () => {
    const options = { input: clean, metric: DIFF, at: "blocks.0.attn.hook_attn_scores" };
    const found = await gradientTimesActivation(model, options);
    expect(found.scores.every(Number.isFinite)).toBe(true);
    const path = await integratedGradients(model, { ...options, baseline: corrupted, steps: 16 });
    expect(Math.abs(path.gap)).toBeLessThan(0.05 * Math.abs(path.value - path.baseline));
  });

  it("of the loss have its value", async () => {
    const options = { input: clean, metric: metric.loss() };
    const run = await model.backward(clean, { metric: metric.loss(), at });
    expect((await saliency(model, options)).value).toBeCloseTo(run.value[0] as number, 6);
    run.destroy();
  });
});

describe("bad input", () => {
  it.each<[string, object, RegExp]>([
    ["a metric of several columns", { metric: metric.logits([1, 2]) }, /HookError hook\/metric: .*gives 2/],
    ["a metric of whole numbers", { metric: metric.rank(3) }, /HookError hook\/metric: .*no gradient/],
    ["several metrics", { metric: [DIFF, DIFF] }, /InputError input\/argument/],
    ["no metric", { metric: undefined }, /InputError input\/argument: .*metric is missing/],
    ["two sequences", { input: [[1], [2]] }, /InputError input\/experiment/],
    ["embeddings", { input: { inputsEmbeds: [[1]] } }, /InputError input\/argument: .*input is .*; it must be text/],
    ["a point that does not exist", { at: "blocks.7.hook_resid_pre" }, /HookError hook\/no-such-point/],
    ["a pattern of points", { at: "*.hook_resid_pre" }, /HookError hook\/no-such-point: .*is a pattern, and one point/],
    ["a position that does not exist", { metricPosition: 99 }, /(position-range)/],
    ["an option that does not exist", { position: 1 }, /InputError input\/unknown-key/],
  ])("%s is refused", async (_, change, expected) => {
    const options = { input: clean, metric: DIFF, ...change } as never;
    for (const call of [saliency, gradientTimesActivation, integratedGradients])
      expect(await failureOf(() => call(model, options))).toMatch(expected);
  });

  it("a position beside the loss, which has all, is refused by its name", async () => {
    const options = { input: clean, metric: metric.loss(), metricPosition: 2 };
    for (const [name, call] of Object.entries({ saliency, gradientTimesActivation }))
      expect(await failureOf(() => call(model, options))).toMatch(
        `InputError input/idle-option: ${name}: metricPosition does nothing beside metric.loss`,
      );
  });

  it("kl without a reference is refused where there is one run: its gradient there is 0", async () => {
    const options = { input: clean, metric: metric.kl() };
    for (const call of [saliency, gradientTimesActivation])
      expect(await failureOf(() => call(model, options))).toMatch(
        /HookError hook\/metric: .*one run.*metric.kl\(logits\)/,
      );
  });

  it.each<[string, object, RegExp]>([
    ["no steps", { steps: 0 }, /InputError input\/argument: .*steps is 0/],
    ["half a step", { steps: 1.5 }, /InputError input\/argument/],
    ["the loss", { metric: metric.loss() }, /HookError hook\/metric: .*whole batch/],
    ["a baseline of another length", { baseline: [1, 2] }, /HookError hook\/patch-length: .*2 tokens, the input 9/],
    ["two baselines", { baseline: [clean, clean] }, /HookError hook\/patch-length: .*9 and 9/],
    ["the input itself as a baseline", { baseline: clean }, /HookError hook\/same-prompts: The input and the baseline/],
    ["a baseline that is none", { baseline: 0 }, /InputError input\/argument/],
  ])("%s is refused by integrated gradients", async (_, change, expected) => {
    const options = { input: clean, metric: DIFF, ...change } as never;
    expect(await failureOf(() => integratedGradients(model, options))).toMatch(expected);
  });

  it("leaves nothing behind, whatever ends it", async () => {
    const options = { input: clean, baseline: corrupted, metric: DIFF, steps: 2 };
    await integratedGradients(model, options);
    const before = model.gpu.memory.buffers;
    const signal = AbortSignal.abort(new Error("enough"));
    await expect(integratedGradients(model, { ...options, signal })).rejects.toThrow("enough");
    await expect(saliency(model, { input: clean, metric: DIFF, signal })).rejects.toThrow("enough");
    expect(await failureOf(() => integratedGradients(model, { ...options, baseline: [1] }))).toMatch(/patch-length/);
    await integratedGradients(model, options);
    expect(model.gpu.memory.buffers).toBe(before);
  });
});
