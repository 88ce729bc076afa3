/** A metric of the caller's own: beside others in a batch, and which pairs of value and gradient are refused. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Recorder } from "../../src/gpu/recorder.ts";
import { CHECKS, checkGradient, recordExpression } from "../../src/hooks/expression-metric.ts";
import { type HookedModel, metric, type WgslMetric } from "../../src/hooks/index.ts";
import type { CheckedMetric } from "../../src/hooks/metrics.ts";
import { packedView } from "../../src/kernels/view.ts";
import { failureOf, hooked, randomIds } from "../hooks/support.ts";
import { gaussians, relativeError, seeded } from "../support/numbers.ts";

const ENTROPY: WgslMetric = { term: "-p * logP", gradient: "-p * (logP + value)" };
const random = seeded(21);

let model: HookedModel;
beforeAll(async () => {
  model = await hooked("gpt2");
});
afterAll(() => model.destroy());

describe("in a batch", () => {
  const ids = [randomIds(random, 4), randomIds(random, 6), randomIds(random, 2)];
  const weights = gaussians(random, 96);
  const mine = [
    metric.wgsl(ENTROPY),
    metric.logitDiff(5, 7),
    metric.wgsl({ term: "p * w", gradient: "p * (w - value)", weights }),
  ];
  const options = { at: "blocks.0.hook_resid_pre", position: -2, weights: "*ln_f*" };

  it("each sequence has its own, at its own position", async () => {
    using all = await model.backward(ids, { metric: mine, ...options });
    for (const [sequence, own] of mine.entries()) {
      using alone = await model.backward([ids[sequence] as number[]], { metric: own, ...options });
      expect(relativeError([all.value[sequence] as number], alone.value)).toBeLessThan(1e-6);
      const part = await all.grads.read(options.at, { batch: [sequence] });
      const should = await alone.grads.read(options.at);
      expect(relativeError(part.subarray(0, should.length), should)).toBeLessThan(1e-5);
    }
  });

  it("positions that are not measured have gradient 0, and are not checked", async () => {
    using all = await model.backward(ids, { metric: metric.wgsl(ENTROPY), at: "logits", position: 0 });
    const grads = await all.grads.read("logits");
    const rows = Array.from({ length: 18 }, (_, row) => grads.subarray(96 * row, 96 * (row + 1)));
    expect(rows.flatMap((row, index) => (row.some((each) => each !== 0) ? [index] : []))).toEqual([0, 6, 12]);
  });

  it("a gradient that is wrong for one of them is refused", async () => {
    const wrong = metric.wgsl({ term: "p * p", gradient: "2 * p * p" });
    expect(
      await failureOf(() => model.backward(ids, { metric: [mine[0], mine[1], wrong] as never, ...options })),
    ).toMatch(/hook\/metric-gradient: .*2 \* p \* p/);
  });
});

/** Pairs that belong together, also where the value has corners or steps, or a step of the check resolves nothing. */
const RIGHT: Record<string, WgslMetric> = {
  entropy: ENTROPY,
  "a constant": { term: "p", gradient: "0" },
  "a logit": { term: "select(0.0, logit, token == 9)", gradient: "select(0.0, 1.0, token == 9)" },
  "a log probability": { term: "select(0.0, logP, token == 9)", gradient: "select(0.0, 1.0, token == 9) - p" },
  "a probability": {
    term: "select(0.0, p, token == 9)",
    gradient: "value * (select(0.0, 1.0, token == 9) - p)",
  },
  "the chance to agree": { term: "p * p", gradient: "2 * p * (p - value)" },
  corners: { term: "abs(logit)", gradient: "sign(logit)" },
  "one corner": {
    term: "select(0.0, max(logit, 0), token == 9)",
    gradient: "select(0.0, 1.0, token == 9 && logit > 0)",
  },
  steps: { term: "select(0.0, 1.0, logit > 0)", gradient: "0" },
  "waves within a step": { term: "sin(10000 * logit)", gradient: "10000 * cos(10000 * logit)" },
};

/** Ways to be wrong. */
const WRONG: Record<string, WgslMetric> = {
  "the other sign": { ...ENTROPY, gradient: "p * (logP + value)" },
  "a forgotten sum": { ...ENTROPY, gradient: "-p * logP" },
  "a subtracted sum": { ...ENTROPY, gradient: "-p * (logP - value)" },
  "one twentieth too much": { ...ENTROPY, gradient: "-1.05 * p * (logP + value)" },
  "no softmax": { term: "select(0.0, logP, token == 9)", gradient: "select(0.0, 1.0, token == 9)" },
  "another token": { term: "select(0.0, logP, token == 9)", gradient: "select(0.0, 1.0, token == 8) - p" },
  "a gradient of a constant": { term: "p", gradient: "1" },
};

/** For each row of normal logits the error's code, or nothing. */
async function verdicts(expressions: WgslMetric, rows: number, vocab: number, scale: number): Promise<unknown[]> {
  const { gpu } = model;
  const all = Array.from({ length: rows }, (_, row) => row);
  using logits = gpu.tensorFrom(gaussians(random, rows * vocab, scale), [rows, vocab], "logits");
  using values = gpu.tensor([rows], "values");
  using checks = gpu.tensor([rows, CHECKS], "checks");
  using out = gpu.tensor([rows, vocab], "gradients");
  const views = { logits: packedView(logits, vocab), out: packedView(out, vocab) };
  const call = { ...views, rows: all, weights: gpu.zeros as never, weightsStart: 0, values, checks };
  const own = metric.wgsl(expressions) as CheckedMetric;
  await Recorder.run(gpu, "metric", (recorder) => recordExpression(recorder, own, call), {});
  const [sums, numbers] = [await values.read(), await checks.read()];
  return all.map((row) => {
    try {
      checkGradient(own, sums[row] as number, numbers.subarray(row * CHECKS, (row + 1) * CHECKS));
      return undefined;
    } catch (error) {
      return (error as { code: string }).code;
    }
  });
}

const SIZES = [
  [96, 0.01],
  [96, 1],
  [96, 40],
  [20_000, 1],
  [20_000, 4],
] as const;

describe("value and gradient", () => {
  it.each(Object.entries(RIGHT))("%s: a right pair is never refused", async (_, expressions) => {
    for (const [vocab, scale] of SIZES)
      expect(await verdicts(expressions, 6, vocab, scale), `${vocab}, ${scale}`).toEqual(Array(6).fill(undefined));
  });

  it.each(Object.entries(WRONG))("%s is refused", async (_, expressions) => {
    for (const scale of [1, 3]) {
      const refused = (await verdicts(expressions, 20, 96, scale)).filter((code) => code === "hook/metric-gradient");
      expect(refused.length, `${scale}`).toBeGreaterThan(16);
    }
  });
});
