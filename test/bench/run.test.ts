/** The run itself: what a report holds, and what ends it. */
import { beforeAll, describe, expect, it } from "vitest";
import { CeilingProbe } from "../../src/bench/ceilings.ts";
import {
  type BenchOptions,
  DEFAULT_OPTIONS,
  planTests,
  type Report,
  type RunOptions,
  runBench,
} from "../../src/bench/index.ts";
import { fractionOf } from "../../src/bench/measure.ts";
import { RandomSource } from "../../src/bench/random-source.ts";
import { SHAPES } from "../../src/bench/shapes.ts";
import { median } from "../../src/bench/statistics.ts";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { MATMUL_FAMILY } from "../../src/kernels/matmul.ts";
import { BROKEN, HASTY } from "../kernels/altered.ts";
import { onPartsOfTestGpu } from "../support/device-part.ts";
import { ownGpu, testGpu } from "../support/gpu.ts";
import { isNight } from "../support/nightly.ts";
import { FEW, SHORT, SMALL as SMALL_SIZES } from "./small-ceilings.ts";

const PLAN: BenchOptions = {
  ...DEFAULT_OPTIONS,
  tune: false, // what this machine was tuned to before must not matter
  prompts: [16],
  generate: [4],
  batches: [1, 3],
  runs: 3,
  depth: 8,
};

const SMALL: RunOptions = { ...PLAN, commit: "abc1234", quiet: true };

describe("a report", () => {
  const stages: string[] = [];
  let report: Report;
  /** Of the same tests, which are profiled then. */
  let second: Report;
  beforeAll(async () => {
    await onPartsOfTestGpu(async () => {
      report = await runBench({ shape: "tiny" }, { ...SMALL, onProgress: ({ stage }) => stages.push(stage) });
      second = await runBench({ shape: "tiny" }, { ...SMALL, profile: true });
    });
  });

  it("has every test with its times, work and check, and how long loading took", () => {
    expect(report).toMatchObject({
      commit: "abc1234",
      host: "node",
      hostVersion: process.versions.node,
      backend: "Dawn",
      model: "tiny",
      isRandom: true,
      storage: "f32",
      shape: { family: "gpt2", layers: 2, dModel: 64, vocabSize: 512, maxPositions: 1024 },
      load: { from: "memory", bytes: expect.any(Number), promptTokens: 128 },
    });
    expect(JSON.parse(JSON.stringify(report))).toEqual(report);
    expect(report.tests.map(({ name }) => name)).toEqual(["pp16", "tg4", "pp16 b3", "tg4 b3"]);
    expect([...new Set(stages)]).toEqual(["load", "pp16", "tg4", "pp16 b3", "tg4 b3"]);
    for (const test of report.tests) expectPlausible(test);
    expectTotals(report);
  });

  it("has a line for every kernel when they are profiled", () => {
    const { profile = [] } = second;
    expect(profile.map(({ test }) => test)).toEqual(["pp16", "tg4", "pp16 b3", "tg4 b3"]);
    for (const { kernels } of profile) {
      expect(kernels.some(({ kernel }) => kernel.startsWith("matmul"))).toBe(true);
      expect(kernels.reduce((sum, { share }) => sum + share, 0)).toBeCloseTo(1);
    }
  });

  it("frees everything: a second run finds the memory that the first one found", () => {
    expect(second.tests.map(({ peakBytes }) => peakBytes)).toEqual(report.tests.map(({ peakBytes }) => peakBytes));
  });
});

function expectPlausible(test: Report["tests"][number]): void {
  const { runs, medianMs, spread, tokens, batch } = test;
  expect(runs).toHaveLength(SMALL.runs);
  expect(medianMs).toBe([...runs].sort((a, b) => a - b)[1]);
  expect(spread).toEqual({ minMs: Math.min(...runs), maxMs: Math.max(...runs) });
  expect(test.tokensPerSecond).toBeCloseTo((1000 * tokens * batch) / medianMs);
  expect(test.check).toBe("ok");
  expect(test.largestError).toBeLessThan(1e-5);
  expect(test.dispatchesPerToken).toBeGreaterThan(0);
}

/** Numbers that follow from the shape. */
function expectTotals({ tests, load }: Report): void {
  const [pp, tg, ppBatch, tgBatch] = tests as [
    Report["tests"][0],
    Report["tests"][0],
    Report["tests"][0],
    Report["tests"][0],
  ];
  const { n_embd: d, n_layer, vocab_size } = SHAPES.tiny;
  const weights = 12 * d * d * n_layer + d * vocab_size;
  // Attention's own operations come on top of the matmuls'.
  expect(tg.operations / (2 * weights * 4)).toBeGreaterThan(1);
  expect(tg.operations / (2 * weights * 4)).toBeLessThan(1.2);
  // And the embedding's rows to the weights of matmuls.
  expect(tg.bytesReadPerToken / (4 * weights)).toBeCloseTo(1, 2);
  expect(tgBatch.bytesReadPerToken / (4 * weights)).toBeCloseTo(1 / 3, 2);
  expect(ppBatch.operations / pp.operations).toBeCloseTo(3, 1);
  expect(load.bytes).toBeGreaterThan(4 * weights);
  expect(pp.peakBytes).toBeGreaterThan(load.bytes * 0.9);
}

describe("what cannot be measured", () => {
  it("is a test of more positions than the model has", () => {
    const plan = (options: Partial<BenchOptions>) => () => planTests({ ...PLAN, ...options }, { maxPositions: 100 });
    expect(plan({ prompts: [101] })).toThrow(/pp101 needs 101 positions, and the model has 100/);
    expect(plan({ generate: [93] })).toThrow(/tg93 needs 101 positions.*At most 92 tokens fit after 8 positions/);
    expect(plan({ depth: 100 })).toThrow(/Lower the depth of 100/);
  });

  it("is nothing at all", () => {
    expect(() => planTests({ ...PLAN, prompts: [0], generate: [0] }, { maxPositions: 100 })).toThrow(/Give a length/);
  });

  it("is a model that does not load; the device goes with it", async () => {
    const config = { ...SHAPES.tiny, n_head: 7 };
    await expect(RandomSource.create(config)).rejects.toMatchObject({ code: expect.stringMatching(/^config\//) });
    await expect(runBench({ source: "./no/such/folder" }, SMALL)).rejects.toThrow(/no\/such\/folder/);
  });

  it("ends with the reason of the signal", async () => {
    const signal = AbortSignal.abort(new Error("enough"));
    await expect(runBench({ shape: "tiny" }, { ...SMALL, signal })).rejects.toThrow("enough");
  });
});

async function expectCeilings(gpu: Gpu): Promise<void> {
  const probe = await CeilingProbe.find(gpu, { sizes: SMALL_SIZES, timing: SHORT, ...(!isNight && { matmuls: FEW }) });
  const again = await probe.measure();
  const { ceilings } = probe;
  expect(ceilings).toMatchObject({ matmul: { rows: 32, kernel: expect.any(String) }, weights: { outWidth: 128 } });
  const { gflops } = ceilings.matmul;
  const { gigabytesPerSecond } = ceilings.weights;
  for (const value of [gflops, gigabytesPerSecond, ceilings.dispatchMicroseconds, ...Object.values(again)]) {
    expect(value).toBeGreaterThan(0);
  }
  probe.destroy();
}

describe("ceilings", () => {
  it("are positive, name their kernel and leave no memory behind", async () => {
    const gpu = await ownGpu();
    // What the longest submit needed stays, and how long that is depends on how busy the machine is; a leak would go on.
    let before = 0;
    for (let turn = 0; turn < 4 && gpu.memory.bytes !== before; turn++) {
      before = gpu.memory.bytes;
      await expectCeilings(gpu);
    }
    expect(gpu.memory.bytes).toBe(before);
    gpu.trim();
  });

  it("are set by no kernel that is wrong, or that the driver does not take", async () => {
    const gpu = await ownGpu();
    const sizes = {
      manyRows: [{ rows: 128, width: 256, outWidth: 256 }],
      oneRow: [{ rows: 1, width: 256, outWidth: 256 }],
    };
    const probe = await CeilingProbe.find(gpu, { sizes, timing: SHORT, matmuls: [HASTY, BROKEN] });
    await probe.measure();
    const defaultOf = (rows: number) =>
      (["linear", "conv1d"] as const).map(
        (layout) => MATMUL_FAMILY.defaultFor(gpu.host, { rows, layout, storage: "f32" }).name,
      );
    expect(defaultOf(128)).toContain(probe.ceilings.matmul.kernel);
    expect(defaultOf(1)).toContain(probe.ceilings.weights.kernel);
    probe.destroy();
    gpu.trim();
  });

  it("bound a run by whichever takes longer", async () => {
    const rates = { gflops: 10, gigabytesPerSecond: 2 };
    const of = (operations: number, weightBytes: number) => fractionOf({ operations, weightBytes }, 4, rates);
    expect(of(20e6, 2e6)).toEqual({ fractionOfCeiling: 0.5, boundBy: "matmul" });
    expect(of(5e6, 2e6)).toEqual({ fractionOfCeiling: 0.25, boundBy: "weights" });
  });
});

describe("a median", () => {
  it("is the middle, or between the two middle ones, by size", () => {
    expect(median([10, 9, 100])).toBe(10);
    expect(median([100, 9, 1, 11])).toBe(10);
  });
});

describe("the test process", () => {
  it("keeps its own device through all of this", async () => {
    await (await testGpu()).idle();
  });
});
