/** The check of outputs must pass what is right and stop what is not. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { CeilingProbe } from "../../src/bench/ceilings.ts";
import { measureTests } from "../../src/bench/measure.ts";
import type { TestPlan } from "../../src/bench/options.ts";
import { promptBatch } from "../../src/bench/prompts.ts";
import { RandomSource } from "../../src/bench/random-source.ts";
import { checkGreedy, checkLogits, Reference, TOLERANCE } from "../../src/bench/reference.ts";
import { SHAPES } from "../../src/bench/shapes.ts";
import { type BenchTest, makeTest } from "../../src/bench/tests.ts";
import { type HookedModel, loadModel } from "../../src/hooks/index.ts";
import { testGpu } from "../support/gpu.ts";
import { FEW, SHORT, SMALL } from "./small-ceilings.ts";

let model: HookedModel;
beforeAll(async () => {
  model = await loadModel(await RandomSource.create(SHAPES.tiny), { gpu: await testGpu() });
});
afterAll(() => model.destroy());

const WRONG = { code: "bench/wrong-output" };

/** A reference that is off by a thousandth of the largest logit in one place. */
class CorruptReference extends Reference {
  override async logits(ids: readonly number[], positions: readonly number[]): Promise<Float32Array> {
    const logits = (await super.logits(ids, positions)).slice();
    const largest = logits.indexOf(Math.max(...logits));
    logits[largest] = 0.999 * (logits[largest] as number);
    return logits;
  }
}

/** A reference that never prefers what was decoded. */
class OtherReference extends Reference {
  override async logits(ids: readonly number[], positions: readonly number[]): Promise<Float32Array> {
    return (await super.logits(ids, positions)).map((value) => -value);
  }
}

const PLANS: TestPlan[] = [
  { name: "pp16 b3", kind: "prompt", tokens: 16, batch: 3, depth: 0 },
  { name: "tg4 b3", kind: "generate", tokens: 4, batch: 3, depth: 8 },
  { name: "tg4", kind: "generate", tokens: 4, batch: 1, depth: 0 },
];

async function measureAll(
  plans: readonly TestPlan[],
  reference: Reference,
  findCeilings?: () => Promise<CeilingProbe>,
) {
  const tests = await Promise.all(plans.map((plan) => makeTest(model, plan)));
  try {
    const options = { runs: 1, findCeilings, signal: undefined, onDetail: () => undefined };
    return await measureTests(model.gpu, tests, reference, options);
  } finally {
    for (const test of tests) test.destroy();
  }
}

const measure = async (plan: TestPlan, reference: Reference) => (await measureAll([plan], reference))[0];

describe("a run beside its ceilings", () => {
  it("says which part of them each test reached", async () => {
    const find = () => CeilingProbe.find(model.gpu, { sizes: SMALL, matmuls: FEW, timing: SHORT });
    const results = await measureAll(PLANS, new Reference(model), find);
    expect(results.map(({ name }) => name)).toEqual(PLANS.map(({ name }) => name));
    for (const { fractionOfCeiling, boundBy } of results) {
      expect(fractionOfCeiling).toBeGreaterThan(0);
      expect(fractionOfCeiling).toBeLessThan(10);
      expect(boundBy).toMatch(/^(matmul|weights)$/);
    }
  });
});

describe("the check of a benchmarked run", () => {
  it.each(PLANS)("passes $name", async (plan) => {
    expect(await measure(plan, new Reference(model))).toMatchObject({ check: "ok" });
  });

  it("fails a prompt whose logits are off by a thousandth", async () => {
    const [prompt] = PLANS as [TestPlan];
    await expect(measure(prompt, new CorruptReference(model))).rejects.toMatchObject(WRONG);
  });

  it("fails a batch of which the second sequence alone is wrong", async () => {
    const [prompt, tokens] = PLANS as [TestPlan, TestPlan];
    for (const plan of [prompt, tokens]) {
      const first = promptBatch(model.spec, plan.kind === "prompt" ? plan.tokens : plan.depth + 1, 2)[0] as number[];
      const isFirst = (ids: readonly number[]) => first.every((id, index) => ids[index] === id);
      class HalfRight extends Reference {
        override async logits(ids: readonly number[], positions: readonly number[]): Promise<Float32Array> {
          const logits = await super.logits(ids, positions);
          return isFirst(ids) ? logits : logits.map((value) => -value);
        }
      }
      await expect(measure(plan, new HalfRight(model))).rejects.toMatchObject({ message: /sequence 1/, ...WRONG });
    }
  });

  it("fails when any run is wrong, not only the first", async () => {
    const [plan] = PLANS as [TestPlan];
    const asked: number[] = [];
    let runs = 0;
    const test: BenchTest = {
      plan,
      heldBytes: 0,
      run: async () => {
        const run = runs++;
        return async () => {
          asked.push(run);
          if (run === 3) throw new Error("the last run is wrong");
          return 0;
        };
      },
      destroy: () => undefined,
    };
    const options = { runs: 3, findCeilings: undefined, signal: undefined, onDetail: () => undefined };
    const results = measureTests(model.gpu, [test], new Reference(model), options);
    await expect(results).rejects.toThrow("the last run is wrong");
    expect(asked).toEqual([0, 1, 2, 3]);
  });

  it.each(PLANS.slice(1))("fails $name when the reference prefers other tokens", async (plan) => {
    await expect(measure(plan, new OtherReference(model))).rejects.toMatchObject(WRONG);
  });

  it("fails a model whose weights are not those of the reference", async () => {
    const other = await loadModel(await RandomSource.create({ ...SHAPES.tiny, layer_norm_epsilon: 0.1 }), {
      gpu: await testGpu(),
    });
    for (const plan of PLANS) await expect(measure(plan, new Reference(other))).rejects.toMatchObject(WRONG);
    other.destroy();
  });
});

describe("logits", () => {
  const expected = Float32Array.of(1, -4, 2, 0);

  it("may differ within the tolerance of the largest", () => {
    expect(checkLogits("x", expected, expected)).toBe(0);
    const near = expected.map((value) => value + 4 * 0.9 * TOLERANCE);
    expect(checkLogits("x", near, expected)).toBeCloseTo(0.9 * TOLERANCE, 6);
  });

  it.each([
    ["one differs", Float32Array.of(1, -4, 2, 0.01)],
    ["one is NaN", Float32Array.of(1, Number.NaN, 2, 0)],
    ["one is missing", Float32Array.of(1, -4, 2)],
    ["all are zero", new Float32Array(4)],
  ])("are wrong when %s", (_name, actual) => {
    expect(() => checkLogits("pp4", actual, expected)).toThrow(/^pp4: logits differ.*Do not trust this adapter/);
  });
});

describe("tokens", () => {
  const logits = Float32Array.of(1, 5, 2, 5 - 1e-5, 3, 0, 0, 1);

  it("must be the likeliest, or as likely as that", () => {
    expect(checkGreedy("x", [1, 0], logits)).toBe(0);
    expect(checkGreedy("x", [3, 0], logits)).toBeCloseTo(2e-6, 6);
    expect(() => checkGreedy("tg2", [1, 3], logits)).toThrow(/tg2: token 1 is 3, and the reference kernels prefer 0/);
    expect(() => checkGreedy("tg2", [1, 9], logits)).toThrow(/token 1 is 9/);
  });
});
