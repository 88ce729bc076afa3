/** Every metric and its gradient of the logits: by its formula and by central differences of it, in float64. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type HookedModel, type Metric, metric } from "../../src/hooks/index.ts";
import { hooked, logitsOf, randomIds } from "../hooks/support.ts";
import { fixtureFiles, valuesOf } from "../support/fixtures.ts";
import { gaussians, relativeError, seeded } from "../support/numbers.ts";

const softmax = (logits: Float64Array) => {
  const largest = Math.max(...logits);
  const parts = logits.map((value) => Math.exp(value - largest));
  const total = parts.reduce((a, b) => a + b);
  return parts.map((part) => part / total);
};

const VOCAB = 96;
const random = seeded(8);
const IDS = [randomIds(random, 6), randomIds(random, 3)];
const REFERENCE = gaussians(random, VOCAB, 2);
REFERENCE[7] = Number.NEGATIVE_INFINITY; // a token that the reference rules out
const FACTORS = gaussians(random, VOCAB);
const SHARES = Array.from(softmax(Float64Array.from(REFERENCE)));

const at = (values: ArrayLike<number>, token: number) => values[token] as number;

/** Metrics of one row of logits. */
const ROW_METRICS: readonly (readonly [name: string, metric: Metric, formula: (logits: Float64Array) => number])[] = [
  ["logit", metric.logit(9), (l) => at(l, 9)],
  ["logitDiff", metric.logitDiff(5, 7), (l) => at(l, 5) - at(l, 7)],
  ["logitDiff of one token", metric.logitDiff(5, 5), () => 0],
  ["prob", metric.prob(3), (l) => at(softmax(l), 3)],
  ["logProb", metric.logProb(95), (l) => Math.log(at(softmax(l), 95))],
  ["weighted", metric.weighted(FACTORS), (l) => l.reduce((sum, value, token) => sum + value * at(FACTORS, token), 0)],
  [
    "kl",
    metric.kl(REFERENCE),
    (l) => {
      const [r, p] = [softmax(Float64Array.from(REFERENCE)), softmax(l)];
      return r.reduce((sum, value, token) => sum + (value > 0 ? value * Math.log(value / at(p, token)) : 0), 0);
    },
  ],
  [
    "entropy, as an expression",
    metric.wgsl({ term: "-p * logP", gradient: "-p * (logP + value)" }),
    (l) => -softmax(l).reduce((sum, p) => sum + p * Math.log(p), 0),
  ],
  [
    "logProb, as an expression",
    metric.wgsl({ term: "select(0.0, logP, token == 95)", gradient: "select(0.0, 1.0, token == 95) - p" }),
    (l) => Math.log(at(softmax(l), 95)),
  ],
  [
    "kl, as an expression",
    metric.wgsl({ term: "select(0.0, w * (log(w) - logP), w > 0)", gradient: "p - w", weights: SHARES }),
    (l) => {
      const p = softmax(l);
      return SHARES.reduce((sum, r, token) => sum + (r > 0 ? r * Math.log(r / at(p, token)) : 0), 0);
    },
  ],
  [
    "logits above 0, as an expression",
    metric.wgsl({ term: "max(logit, 0)", gradient: "select(0.0, 1.0, logit > 0)" }),
    (l) => l.reduce((sum, each) => sum + Math.max(each, 0), 0),
  ],
];

function slopes(formula: (logits: Float64Array) => number, logits: Float64Array): Float64Array {
  return logits.map((value, token) => {
    const moved = (step: number) => formula(logits.map((each, index) => (index === token ? value + step : each)));
    return (moved(1e-5) - moved(-1e-5)) / 2e-5;
  });
}

let model: HookedModel;
let rowAt: (sequence: number, position: number) => Float64Array;
beforeAll(async () => {
  model = await hooked("gemma2");
  const logits = await logitsOf(model, IDS);
  rowAt = (sequence, position) => {
    const start = (sequence * 6 + position) * VOCAB;
    return Float64Array.from(logits.subarray(start, start + VOCAB));
  };
});
afterAll(() => model.destroy());

/** The gradient of the logits of a sequence's position. */
const rowOf = (grads: Float32Array, sequence: number, position: number) =>
  grads.subarray((sequence * 6 + position) * VOCAB, (sequence * 6 + position + 1) * VOCAB);

describe("metrics", () => {
  it.each(ROW_METRICS)("%s is its formula, and its gradient the formula's slope", async (_, given, formula) => {
    for (const position of [-1, 1]) {
      using result = await model.backward(IDS, { metric: given, position, at: "logits" });
      const grads = await result.grads.read("logits");
      const places = IDS.map(({ length }) => (position < 0 ? length - 1 : position));
      for (const [sequence, place] of places.entries()) {
        const logits = rowAt(sequence, place);
        expect(Math.abs((result.value[sequence] as number) - formula(logits))).toBeLessThan(
          2e-6 * (1 + Math.abs(formula(logits))),
        );
        expect(relativeError(rowOf(grads, sequence, place), slopes(formula, logits))).toBeLessThan(1e-5);
      }
      // No other row counts.
      const nonzero = grads.filter((value) => value !== 0).length;
      const own = places.flatMap((place, sequence) => [...rowOf(grads, sequence, place)]);
      expect(own.filter((value) => value !== 0)).toHaveLength(nonzero);
    }
  });

  it("may be another for each sequence", async () => {
    const [first, second] = [metric.logitDiff(5, 7), metric.kl(REFERENCE)];
    using both = await model.backward(IDS, {
      metric: [first, second],
      at: "blocks.0.hook_resid_pre",
    });
    for (const [sequence, given] of [first, second].entries()) {
      using alone = await model.backward([IDS[sequence] as number[]], {
        metric: given,
        at: "blocks.0.hook_resid_pre",
      });
      expect(relativeError([both.value[sequence] as number], alone.value)).toBeLessThan(1e-6);
      const own = await both.grads.read("blocks.0.hook_resid_pre", { batch: [sequence] });
      const should = await alone.grads.read("blocks.0.hook_resid_pre");
      expect(relativeError(own.subarray(0, should.length), should)).toBeLessThan(1e-5);
    }
  });

  it.each([
    ["everything", undefined],
    [
      "a mask",
      [
        [true, false, false, true, true, false],
        [false, true],
      ],
    ],
  ])("loss of %s is the mean cross entropy", async (_, mask) => {
    const counted = IDS.flatMap((ids, sequence) =>
      ids.flatMap((__, position) =>
        position + 1 < ids.length && (mask?.[sequence]?.[position] ?? !mask) ? [[sequence, position] as const] : [],
      ),
    );
    using result = await model.backward(IDS, { metric: metric.loss(mask), at: "logits" });
    const grads = await result.grads.read("logits");
    const should = new Float64Array(grads.length);
    let loss = 0;
    for (const [sequence, position] of counted) {
      const next = IDS[sequence]?.[position + 1] as number;
      const formula = (l: Float64Array) => -Math.log(at(softmax(l), next)) / counted.length;
      loss += formula(rowAt(sequence, position));
      should.set(slopes(formula, rowAt(sequence, position)), (sequence * 6 + position) * VOCAB);
    }
    expect(relativeError(result.value, [loss])).toBeLessThan(1e-6);
    expect(relativeError(grads, should)).toBeLessThan(1e-5);
  });
});

describe("given embeddings", () => {
  it.each(["gpt2", "gemma2", "llama"])("of %s have the gradients that the tokens' have", async (family) => {
    using own = await hooked(family);
    const options = { metric: metric.weighted(FACTORS), at: ["hook_embed", "blocks.1.hook_resid_pre"], weights: "*" };
    using ofIds = await own.backward(IDS, options);
    using clean = await own.forward(IDS, { capture: "hook_embed" });
    const embeds = await clean.cache.read("hook_embed");
    const inputsEmbeds = IDS.map(({ length }, sequence) =>
      embeds.slice(sequence * 6 * 32, (sequence * 6 + length) * 32),
    );
    using given = await own.backward({ inputsEmbeds }, options);
    expect(relativeError(given.value, ofIds.value)).toBeLessThan(1e-6);
    for (const name of given.grads.names) {
      expect(relativeError(await given.grads.read(name), await ofIds.grads.read(name)), name).toBeLessThan(1e-5);
    }
    // The embedding's own gradient is only what a tied unembedding gives.
    const { tensors } = await fixtureFiles(family);
    for (const name of given.weights.names) {
      const [is, should] = [await given.weights.read(name), await ofIds.weights.read(name)];
      if (!/wte|embed_tokens/.test(name)) expect(relativeError(is, should), name).toBeLessThan(1e-5);
      else
        expect(
          is.every((value) => value === 0),
          name,
        ).toBe(!own.spec.unembed.tied);
      expect(is).toHaveLength(valuesOf(tensors.find((tensor) => tensor.name === name) as never).length);
    }
  });
});
