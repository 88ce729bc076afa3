/** What experiments refuse, report and leave behind. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { HookError, InputError } from "../../src/errors.ts";
import { type Edit, type HookedModel, type Metric, metric } from "../../src/hooks/index.ts";
import {
  ablate,
  activationPatch,
  causalTrace,
  Grid,
  injectAtLayers,
  PatchGrid,
} from "../../src/hooks/patching/index.ts";
import { gaussianNoise } from "../../src/hooks/patching/noise.ts";
import { hooked, promptPair } from "./support.ts";

const DIFF = metric.logitDiff(3, 40);
const { clean, corrupted } = promptPair(1);

let model: HookedModel;
beforeAll(async () => {
  model = await hooked("gpt2");
});
afterAll(() => model.destroy());

const axes = [
  { name: "layer", indices: [0, 2], labels: ["L0", "L2"] },
  { name: "head", indices: [1, 3, 4], labels: ["H1", "H3", "H4"] },
] as const;

describe("a grid", () => {
  const grid = new PatchGrid(...axes, Float32Array.of(1, 2, 3, 4, 5, 6), 1, 5, 1);

  it("is read by layer and column number", () => {
    expect([grid.at(0, 1), grid.at(2, 4)]).toEqual([1, 6]);
    const positions = new PatchGrid(
      axes[0],
      { name: "position", indices: [2, 3], labels: ["2", "3"] },
      Float32Array.of(1, 2, 3, 4),
      1,
      5,
      1,
    );
    expect([positions.at(0, 3), positions.at(2, -2)]).toEqual([2, 3]);
    expect(() => positions.at(0, -3)).toThrow(/no position -3; it has 2, 3/);
    expect(() => grid.at(0, -1)).toThrow(/no head -1/);
    expect(() => grid.at(1, 1)).toThrow(/no layer 1; it has 0, 2/);
    expect(() => grid.at(0, 2)).toThrow(/no head 2; it has 1, 3, 4/);
  });

  it("puts the corrupted run at 0 and the clean one at 1", () => {
    expect([...grid.normalized()]).toEqual([0, 0.25, 0.5, 0.75, 1, 1.25]);
    expect([...grid.change()]).toEqual([0, 1, 2, 3, 4, 5]);
    expect(() => new PatchGrid(...axes, new Float32Array(6), 1, 1, 1).normalized()).toThrow(/both give 1/);
  });

  it("prints and turns into JSON", () => {
    expect(new Grid(...axes, Float32Array.of(1, 2, 3, -4, 50, 6), 1).toTable(undefined, 1)).toBe(
      ["      H1    H3   H4", "L0   1.0   2.0  3.0", "L2  -4.0  50.0  6.0"].join("\n"),
    );
    expect(JSON.parse(JSON.stringify(grid))).toEqual({
      rows: axes[0],
      columns: axes[1],
      values: [
        [1, 2, 3],
        [4, 5, 6],
      ],
      base: 1,
      clean: 5,
      corrupted: 1,
    });
  });

  it("names positions by their ids when there is no tokenizer", async () => {
    const patched = await activationPatch(model, {
      clean,
      corrupted,
      metric: DIFF,
      at: "resid_pre",
      layers: [1],
      positions: [0, -1],
    });
    expect(patched.columns).toEqual({
      name: "position",
      indices: [0, 8],
      labels: [`0:#${corrupted[0]}`, `8:#${corrupted[8]}`],
    });
  });
});

describe("gaussian noise", () => {
  it("has mean 0 and the deviation asked for, and depends on seed and stream", () => {
    const noise = gaussianNoise(3, 0, 20_000, 2);
    const mean = noise.reduce((sum, value) => sum + value, 0) / noise.length;
    const std = Math.sqrt(noise.reduce((sum, value) => sum + (value - mean) ** 2, 0) / noise.length);
    expect(Math.abs(mean)).toBeLessThan(0.05);
    expect(Math.abs(std - 2)).toBeLessThan(0.04);
    expect(gaussianNoise(3, 0, 5, 2)).toEqual(noise.slice(0, 5));
    expect(gaussianNoise(3, 1, 5, 2)).not.toEqual(noise.slice(0, 5));
    expect(gaussianNoise(4, 0, 5, 2)).not.toEqual(noise.slice(0, 5));
  });
});

const patch = (options: object) => () =>
  activationPatch(model, { clean, corrupted, metric: DIFF, at: "resid_pre", ...options });
const remove = (options: object) => () => ablate(model, { input: clean, metric: DIFF, kind: "zero", ...options });
const trace = (options: object) => () =>
  causalTrace(model, { prompt: clean, subject: [1], metric: DIFF, samples: 1, ...options });
const inject = (options: object) => () => injectAtLayers(model, { input: clean, metric: DIFF, vector: 0, ...options });
const FEW_ROWS = metric.logits([1, 2]);

it.each<[string, () => Promise<Grid>, string, RegExp]>([
  ["prompts of two lengths", patch({ clean: [1, 2, 3] }), "hook/patch-length", /3 tokens.*9/],
  ["more clean prompts", patch({ clean: [clean, clean] }), "input/experiment", /2 clean prompts and 1 corrupted/],
  [
    "embeddings",
    patch({ clean: { inputsEmbeds: [] } }),
    "input/argument",
    /clean is .*; it must be text, token ids, or a list of either/,
  ],
  ["an unknown site", patch({ at: "residual" }), "input/argument", /at is "residual".*resid_pre/],
  ["a layer that is not there", patch({ layers: [3] }), "hook/layer-range", /0 to 2/],
  ["a head that is not there", patch({ at: "z", heads: [4] }), "hook/head-range", /0 to 3/],
  ["heads where there are none", patch({ heads: [0] }), "hook/head-range", /no heads/],
  ["a position that is not there", patch({ positions: [9] }), "hook/position-range", /position 9.*9 tokens/],
  ["no positions", patch({ positions: [] }), "hook/empty-selection", /positions/],
  ["a metric position that is not there", patch({ metricPosition: -10 }), "input/position-range", /-10/],
  ["a metric of two numbers", patch({ metric: FEW_ROWS }), "hook/metric", /gives 2/],
  ["a token that is not there", remove({ metric: metric.prob(96) satisfies Metric }), "hook/metric", /96/],
  ["an unknown ablation", remove({ kind: "none" }), "input/argument", /kind is "none".*"zero", "mean", "resample"/],
  ["a mean of nothing", remove({ kind: "mean" }), "hook/no-reference", /reference/],
  [
    "reference prompts that are too short",
    remove({ kind: "resample", reference: [clean, [1, 2]] }),
    "hook/reference-length",
    /prompt 1 has 2 tokens.*at least 9/,
  ],
  [
    "activations of the prompt itself",
    remove({ kind: "resample", reference: [clean] }),
    "hook/same-prompts",
    /resample.*all of them have the input's tokens/,
  ],
  ["no draws", remove({ kind: "resample", reference: [clean], samples: 0 }), "input/argument", /samples is 0/],
  ["no noise samples", trace({ samples: 0.5 }), "input/argument", /samples is 0\.5/],
  ["no window", trace({ window: 0 }), "input/argument", /window is 0/],
  ["no noise", trace({ noise: 0 }), "input/argument", /noise is 0/],
  ["no subject", trace({ subject: [] }), "hook/empty-selection", /positions/],
  ["a vector and vectors", inject({ vectors: [1, 2, 3] }), "hook/vectors", /3 vectors and a vector/],
  ["too few vectors", inject({ vector: undefined, vectors: [1] }), "hook/vectors", /1 vectors/],
  ["a vector of another width", inject({ vector: [1, 2] }), "hook/value-shape", /2 numbers/],
])("refuses %s", async (_, run, code, message) => {
  const error = await run().then(
    () => undefined,
    (reason: unknown) => reason as HookError,
  );
  expect(error).toBeInstanceOf(code.startsWith("input/") ? InputError : HookError);
  expect(error?.code).toBe(code);
  expect(error?.message).toMatch(message);
});

const RUNS: Record<
  string,
  (options: { onProgress?: (at: { done: number; total: number }) => void; signal?: AbortSignal }) => Promise<Grid>
> = {
  activationPatch: (options) => patch({ ...options, at: "z" })(),
  "zero ablation": (options) => remove(options)(),
  "mean ablation": (options) => remove({ ...options, kind: "mean", reference: [corrupted] })(),
  "resample ablation": (options) =>
    remove({ ...options, kind: "resample", reference: [corrupted, clean], samples: 3 })(),
  causalTrace: (options) => trace({ ...options, samples: 3, at: "mlp_out", window: 2 })(),
  injectAtLayers: (options) => inject(options)(),
};

describe.each(Object.entries(RUNS))("%s", (_, run) => {
  it("reports progress to the end", async () => {
    const reports: { done: number; total: number }[] = [];
    await run({ onProgress: (report) => reports.push({ ...report }) });
    const last = reports.at(-1);
    expect(last?.done).toBe(last?.total);
    expect(reports.map(({ done }) => done)).toEqual(reports.map(({ done }) => done).sort((a, b) => a - b));
  });

  it("stops when aborted", async () => {
    const reason = new Error("enough");
    await expect(run({ signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  });

  it("leaves GPU memory where it was", async () => {
    await run({});
    await run({});
    const before = { ...model.gpu.memory };
    for (let i = 0; i < 3; i++) await run({});
    expect(model.gpu.memory).toEqual(before);
  });
});

it("leaves GPU memory where it was when it fails midway", async () => {
  const stop = async () => {
    const controller = new AbortController();
    const failing = trace({
      samples: 3,
      signal: controller.signal,
      onProgress: () => controller.abort(new Error("enough")),
    });
    await expect(failing()).rejects.toThrow("enough");
  };
  await stop();
  await stop();
  const before = { ...model.gpu.memory };
  await stop();
  expect(model.gpu.memory).toEqual(before);
});

it("takes means and noise from passes that the edits of a withEdits scope reach", async () => {
  const late: Edit = { at: "blocks.2.hook_resid_post", op: "scale", value: 1.5 };
  await model.withEdits(late, async (edited) => {
    await ablate(edited, { input: clean, metric: DIFF, kind: "mean", reference: corrupted, layers: 0 });
    await ablate(edited, { input: clean, metric: DIFF, kind: "resample", reference: corrupted, layers: 0 });
    await causalTrace(edited, { prompt: clean, subject: 1, metric: DIFF, samples: 1, layers: 0 });
  });
});

it("applies the edits of a withEdits scope to both runs", async () => {
  const at = "blocks.2.hook_resid_post";
  const grid = await model.withEdits([{ at, op: "zero", positions: [-1] }], (edited) =>
    activationPatch(edited, { clean, corrupted, metric: DIFF, at: "resid_pre", layers: [1] }),
  );
  // The runs unembed different numbers of rows, for which different kernels add up in different order.
  expect(grid.clean).toBeCloseTo(grid.corrupted, 5);
});
