/**
 * Decoding by one program that runs ahead of the host, against the same generation pass by pass (which a hook that changes
 * nothing forces), and what a token costs.
 */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { CheckedGenerateOptions, HooksFor } from "../../src/model/generate.ts";
import { generateSteps } from "../../src/model/generate.ts";
import type { Model } from "../../src/model/model.ts";
import { loadFixture } from "../support/fixtures.ts";
import { collect } from "./support.ts";

const PROMPTS = [
  [5, 6, 7],
  [9, 1],
  [3, 3, 3, 8],
];
const BY_PASSES: HooksFor = () => undefined;

describe.each(["gpt2", "llama", "bloom", "gemma2"])("decoding ahead, %s", (family) => {
  let model: Model;
  beforeAll(async () => {
    model = await loadFixture(family);
  });
  afterAll(() => model.destroy());

  const both = async (options: CheckedGenerateOptions) => [
    await collect(generateSteps(model, PROMPTS, options)),
    await collect(generateSteps(model, PROMPTS, options, BY_PASSES)),
  ];

  it.each([
    ["greedy", { maxNewTokens: 12 }],
    ["sampled", { maxNewTokens: 12, temperature: 0.8, topK: 20, seed: 4 }],
    ["two tokens", { maxNewTokens: 2 }],
  ])("gives the tokens that passes give, %s", async (_, options) => {
    const [ahead, passes] = await both(options);
    expect(ahead?.tokens).toEqual(passes?.tokens);
    expect(ahead?.finished).toEqual(passes?.finished);
  });

  it("gives the same tokens where it begins with the newest of a cache", async () => {
    const prompts = PROMPTS.map((ids) => ids.slice(0, -1));
    const newest = PROMPTS.map((ids) => ids.slice(-1));
    const results = [];
    for (const hooksFor of [undefined, BY_PASSES]) {
      using cache = model.createKvCache({ sequences: 3 });
      (await model.forward(prompts, { kv: cache, logits: "none" })).destroy();
      results.push(await collect(generateSteps(model, newest, { maxNewTokens: 5, kv: cache }, hooksFor)));
    }
    expect(results[0]?.tokens).toEqual(results[1]?.tokens);
    expect(results[0]?.steps).toEqual(results[1]?.steps);
  });

  it("refuses a first token that is none, and one for which there is no position", async () => {
    const { vocabSize, maxPositions } = model.spec;
    for (const id of [vocabSize, -1, 0.5]) {
      await expect(collect(generateSteps(model, [id], { maxNewTokens: 3 }))).rejects.toMatchObject({
        code: "input/token-range",
      });
    }
    if (!Number.isFinite(maxPositions)) return;
    using cache = model.createKvCache({ capacity: maxPositions });
    const all = Array.from({ length: maxPositions }, () => 1);
    (await model.forward(all, { kv: cache, logits: "none" })).destroy();
    await expect(collect(generateSteps(model, [1], { maxNewTokens: 3, kv: cache }))).rejects.toMatchObject({
      name: "InputError",
    });
  });

  it("goes on with the others when a sequence ends, and with their draws", async () => {
    const free = await collect(generateSteps(model, PROMPTS, { maxNewTokens: 14, temperature: 1, seed: 7 }));
    const eos = [free.tokens[0]?.[3], free.tokens[2]?.[6]] as number[];
    const [ahead, passes] = await both({ maxNewTokens: 14, temperature: 1, seed: 7, eos });
    expect(ahead?.tokens).toEqual(passes?.tokens);
    expect(ahead?.finished).toEqual(passes?.finished);
    expect(ahead?.steps).toEqual(passes?.steps);
  });
});

describe("a cache that is decoded into", () => {
  let model: Model;
  beforeAll(async () => {
    model = await loadFixture("gpt2");
  });
  afterAll(() => model.destroy());

  it("holds all but the newest token at every step, and after an early end", async () => {
    using cache = model.createKvCache({ sequences: 1, capacity: 4 });
    let steps = 0;
    for await (const { step } of generateSteps(model, [5, 6, 7], { maxNewTokens: 20, kv: cache })) {
      expect(cache.lengths).toEqual([3 + step]);
      steps = step;
      if (step === 6) break;
    }
    expect(steps).toBe(6);
    const rest = await collect(generateSteps(model, [5], { maxNewTokens: 3, kv: cache }));
    expect(cache.lengths).toEqual([3 + 6 + 3]);
    expect(rest.tokens[0]).toHaveLength(3);
  });

  it("takes nothing more for a sequence that has ended", async () => {
    const free = await collect(generateSteps(model, PROMPTS, { maxNewTokens: 14, temperature: 1, seed: 7 }));
    const options = { maxNewTokens: 14, temperature: 1, seed: 7, eos: [free.tokens[0]?.[3] as number] };
    const lengths = [];
    for (const hooksFor of [undefined, BY_PASSES]) {
      using cache = model.createKvCache({ sequences: 3 });
      await collect(generateSteps(model, PROMPTS, { ...options, kv: cache }, hooksFor));
      lengths.push(cache.lengths);
    }
    expect(lengths[0]).toEqual(lengths[1]);
    expect(new Set(lengths[0]).size).toBeGreaterThan(1);
  });

  it("may grow while it is decoded into", async () => {
    const expected = await collect(generateSteps(model, [5, 6, 7], { maxNewTokens: 10 }));
    using cache = model.createKvCache({ sequences: 1, capacity: 16 });
    const tokens: number[] = [];
    for await (const step of generateSteps(model, [5, 6, 7], { maxNewTokens: 10, kv: cache })) {
      tokens.push(step.tokens[0] as number);
      if (step.step !== 2) continue;
      using fork = cache.fork();
      const before = cache.store.capacity;
      (await model.forward(Array.from({ length: before }, () => 1).slice(0, 20), { kv: fork })).destroy();
      (await model.forward(new Array(20).fill(2), { kv: fork })).destroy();
      expect(cache.store.capacity).toBeGreaterThan(before);
    }
    expect(tokens).toEqual(expected.tokens[0]);
  });

  it("may grow while its program is made, at any moment", async () => {
    const prompt = [5, 6, 7];
    const run = async (moment?: number) => {
      using cache = model.createKvCache({ sequences: 1, capacity: 16 });
      (await model.forward(prompt, { kv: cache })).destroy();
      using fork = cache.fork();
      const tokens = collect(generateSteps(model, [8], { maxNewTokens: 6, kv: cache, ignoreEos: true }));
      for (let tick = 0; tick < (moment ?? 0); tick++) await null;
      if (moment !== undefined) fork.extend(0, 40);
      const generated = (await tokens).tokens[0];
      using logits = await model.forward([9], { kv: cache });
      return { generated, logits: await logits.read() };
    };
    const expected = await run();
    for (let moment = 0; moment < 16; moment++) expect(await run(moment), `after ${moment} ticks`).toEqual(expected);
  });

  it("ends with the signal's reason", async () => {
    const stop = new AbortController();
    const run = async () => {
      for await (const { step } of generateSteps(model, [5], { maxNewTokens: 30, signal: stop.signal }))
        if (step === 4) stop.abort(new Error("enough"));
    };
    await expect(run()).rejects.toThrow("enough");
  });
});

describe("a decoded token", () => {
  it("makes no buffer and leaves at most 10 kB of garbage", () => {
    const program = fileURLToPath(new URL("garbage.ts", import.meta.url));
    const loader = fileURLToPath(new URL("../../scripts/wgsl-loader.mjs", import.meta.url));
    const flags = ["--expose-gc", "--max-semi-space-size=64", "--import", "tsx", "--import", loader];
    const { stdout, stderr } = spawnSync(process.execPath, [...flags, program], { encoding: "utf8" });
    const measured = JSON.parse(stdout || `{"error": ${JSON.stringify(stderr)}}`) as Record<string, number>;
    expect(measured).toMatchObject({ buffers: 0, bytes: 0, made: 0, calls: 60 });
    expect(measured.garbagePerToken).toBeLessThan(10_000);
    expect(measured.garbagePerToken).toBeGreaterThan(0);
  });

  it("is at most seven dispatches a block and six around them, of GPT-2; nine a block of Llama", async () => {
    for (const [family, perBlock] of [
      ["gpt2", 7],
      ["llama", 9],
    ] as const) {
      const model = await loadFixture(family);
      const { gpu, spec } = model;
      const counts: number[] = [];
      for await (const { step } of generateSteps(model, [5, 6], { maxNewTokens: 9 })) {
        if (step === 0) counts.push(gpu.counters.dispatches);
      }
      const perToken = (gpu.counters.dispatches - (counts[0] as number)) / 8;
      expect(perToken).toBeLessThanOrEqual(perBlock * spec.nLayers + 6);
      model.destroy();
    }
  });

  it("reads each weight once", async () => {
    const model = await loadFixture("gpt2");
    const { gpu } = model;
    let before = 0;
    for await (const { step } of generateSteps(model, [5, 6], { maxNewTokens: 9 })) {
      if (step === 0) before = gpu.counters.weightBytes;
    }
    const perToken = (gpu.counters.weightBytes - before) / 8;
    const { W_E, blocks } = model.engine.weights;
    const matrices = [W_E, ...blocks.flatMap(({ qkv, W_O, W_in, W_out }) => [qkv, W_O, W_in, W_out])];
    const bytes = matrices.reduce((sum, matrix) => sum + (matrix ? 4 * matrix.outWidth * matrix.width : 0), 0);
    expect(perToken / bytes).toBeLessThan(1.02);
    expect(perToken / bytes).toBeGreaterThan(0.98);
    model.destroy();
  });
});
