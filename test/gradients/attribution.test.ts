/** Attribution patching is the slope of activation patching, and as good as it is where the model is linear. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  type ActivationPatchOptions,
  activationPatch,
  attributionPatch,
  compareWithExact,
  type Edit,
  type HookedModel,
  metric,
  type Site,
} from "../../src/hooks/index.ts";
import { failureOf } from "../hooks/support.ts";
import { promptPair } from "../patching/support.ts";

import { relativeError } from "../support/numbers.ts";
import { madeModel } from "./made-models.ts";

const DIFF = metric.logitDiff(3, 40);
const { clean, corrupted } = promptPair(5);

const SITES: readonly [Site, string][] = [
  ["resid_pre", "hook_resid_pre"],
  ["resid_post", "hook_resid_post"],
  ["mlp_post", "mlp.hook_post"],
  ["q", "attn.hook_q"],
  ["k", "attn.hook_k"],
  ["v", "attn.hook_v"],
  ["z", "attn.hook_z"],
  ["pattern", "attn.hook_pattern"],
];

type SharedPatch = [
  model: HookedModel,
  point: string,
  given: Pick<ActivationPatchOptions, "direction" | "layers" | "positions" | "metricPosition">,
  columns: { name: string; indices: readonly number[] },
];

/** The grid of another experiment: cells that go the share `alpha` of the way to the source. */
async function sharedPatch(alpha: number, ...[model, point, given, columns]: SharedPatch): Promise<Float32Array> {
  const [target, source] = given.direction === "noising" ? [clean, corrupted] : [corrupted, clean];
  using run = await model.forward(source, { capture: `*.${point}` });
  const layers = (given.layers as number[] | undefined) ?? model.spec.layers.map((_, layer) => layer);
  const cells = layers.flatMap((layer) =>
    columns.indices.map((index): Edit[] => {
      const at = `blocks.${layer}.${point}`;
      const edit: Edit = { at, op: "lerp", alpha, value: run.cache.at(at) };
      if (columns.name === "position") return [{ ...edit, positions: [index] }];
      return [{ ...edit, heads: [index], ...(given.positions && { positions: given.positions }) }];
    }),
  );
  const { metricPosition: position } = given;
  return (await model.sweep({ input: target, cells, metric: DIFF, ...(position !== undefined && { position }) }))
    .values;
}

/** The slope of the patch at its start: central differences of two steps, extrapolated (Richardson). */
async function slopes(...[model, point, given, columns]: SharedPatch): Promise<Float32Array> {
  const difference = async (step: number) => {
    const ahead = await sharedPatch(step, model, point, given, columns);
    const behind = await sharedPatch(-step, model, point, given, columns);
    return ahead.map((value, cell) => (value - (behind[cell] as number)) / (2 * step));
  };
  const [near, far] = [await difference(0.01), await difference(0.02)];
  return near.map((slope, cell) => (4 * slope - (far[cell] as number)) / 3);
}

describe.each(["layerNorm", "rmsNorm"] as const)("attribution patching of the %s model", (kind) => {
  let model: HookedModel;
  beforeAll(async () => {
    model = await madeModel(kind);
  });
  afterAll(() => model.destroy());

  it.each(SITES)("is the slope of patching %s", async (at, point) => {
    const part = { direction: "noising", layers: [1, 0], positions: [4, -1, 2], metricPosition: 6 } as const;
    for (const given of [{}, part]) {
      const grid = await attributionPatch(model, { clean, corrupted, metric: DIFF, at, ...given });
      const expected = await slopes(model, point, given, grid.columns);
      expect(Math.max(...grid.change().map(Math.abs))).toBeGreaterThan(0.01);
      // Seen: 3e-4; 1.5e-3 where the patch changes little beside the logits' rounding.
      expect(relativeError(grid.change(), expected)).toBeLessThan(3e-3);
    }
  });

  it("is what a patch does, the better the smaller the patch", async () => {
    const grid = await attributionPatch(model, { clean, corrupted, metric: DIFF, at: "resid_pre" });
    const errors: number[] = [];
    for (const share of [0.1, 0.01]) {
      const values = await sharedPatch(share, model, "hook_resid_pre", {}, grid.columns);
      errors.push(
        relativeError(
          grid.change(),
          values.map((value) => (value - grid.base) / share),
        ),
      );
    }
    // A tenth of the patch, a tenth of the curve.
    expect(errors[1]).toBeLessThan((errors[0] as number) / 5);
    expect(errors[1]).toBeLessThan(0.05);
  });

  it("stands in for activationPatch: axes, ends and direction", async () => {
    for (const direction of ["denoising", "noising"] as const) {
      for (const at of ["resid_mid", "k"] as const) {
        const options = { clean, corrupted, metric: metric.prob(3), at, direction, layers: [1], positions: [3, 1] };
        const [mine, exact] = [await attributionPatch(model, options), await activationPatch(model, options)];
        expect([mine.rows, mine.columns]).toEqual([exact.rows, exact.columns]);
        const ends = ({ base, clean: ofClean, corrupted: ofCorrupted }: typeof mine) => [base, ofClean, ofCorrupted];
        expect(relativeError(ends(mine), ends(exact))).toBeLessThan(1e-5);
      }
    }
  });

  it("is of the model with its edits, also of those at the patched point", async () => {
    const edits: Edit[] = [
      { at: "blocks.1.hook_resid_pre", op: "scale", value: 1.7 },
      { at: "blocks.1.attn.hook_z", op: "scale", value: 0.4, heads: [1] },
    ];
    await model.withEdits(edits, async (edited) => {
      const grid = await attributionPatch(edited, { clean, corrupted, metric: DIFF, at: "resid_pre" });
      const expected = await slopes(edited, "hook_resid_pre", {}, grid.columns);
      // Seen: 3e-4; 1.5e-3 where the patch changes little beside the logits' rounding.
      expect(relativeError(grid.change(), expected)).toBeLessThan(3e-3);
    });
  });
});

describe("metrics", () => {
  let model: HookedModel;
  beforeAll(async () => {
    model = await madeModel("layerNorm");
  });
  afterAll(() => model.destroy());

  it("kl without a reference compares with the clean run", async () => {
    const options = { clean, corrupted, metric: metric.kl(), at: "attn_out" } as const;
    const grid = await attributionPatch(model, options);
    using run = await model.forward(clean);
    const given = await attributionPatch(model, { ...options, metric: metric.kl(await run.logits.at(0, -1)) });
    expect(relativeError(grid.change(), given.change())).toBeLessThan(1e-4);
    expect(Math.abs(grid.clean)).toBeLessThan(1e-6);
    expect(grid.corrupted).toBeGreaterThan(0.01);
  });

  it.each(["logit", "prob", "logProb"] as const)("%s ends at what activationPatch measures", async (kind) => {
    const options = { clean, corrupted, metric: metric[kind](7), at: "z" } as const;
    const [mine, exact] = [await attributionPatch(model, options), await activationPatch(model, options)];
    expect(relativeError([mine.clean, mine.corrupted], [exact.clean, exact.corrupted])).toBeLessThan(1e-5);
  });
});

describe("where the model is linear in the activation", () => {
  let model: HookedModel;
  beforeAll(async () => {
    model = await madeModel("straight");
  });
  afterAll(() => model.destroy());

  it.each<[Site, number[]]>([
    ["resid_post", [1]],
    ["resid_mid", [1]],
    ["mlp_post", [1]],
    ["mlp_out", [1]],
    ["attn_out", [1]],
    ["z", [1]],
    ["v", [1]],
    ["pattern", [1]],
  ])("it equals exact patching at %s of the last block", async (at, layers) => {
    for (const direction of ["denoising", "noising"] as const) {
      const options = { clean, corrupted, metric: DIFF, at, layers, direction };
      const { correlation, largestError, largestChange, signDiffers } = await compareWithExact(model, options);
      expect(largestChange).toBeGreaterThan(0.01);
      // Seen: up to 1e-6.
      expect(largestError).toBeLessThan(1e-5 * largestChange);
      expect(correlation).toBeGreaterThan(1 - 1e-9);
      expect(signDiffers).toEqual([]);
    }
  });

  it("and not at the queries, which the softmax bends", async () => {
    const options = { clean, corrupted, metric: DIFF, at: "q", layers: [1] } as const;
    const { largestError, largestChange } = await compareWithExact(model, options);
    expect(largestError).toBeGreaterThan(1e-3 * largestChange);
  });
});

describe("the comparison with exact patching", () => {
  let model: HookedModel;
  beforeAll(async () => {
    model = await madeModel("layerNorm");
  });
  afterAll(() => model.destroy());

  it("has every cell of a small grid, and its figures are theirs", async () => {
    const options = { clean, corrupted, metric: DIFF, at: "resid_pre" } as const;
    const found = await compareWithExact(model, options);
    const [mine, exact] = [await attributionPatch(model, options), await activationPatch(model, options)];
    expect([...found.grid.values]).toEqual([...mine.values]);
    const [a, b] = [[...mine.change()], [...exact.change()]];
    expect(found.cells.map(({ exact: change }) => change)).toEqual(b);
    expect(found.cells.map(({ approximate }) => approximate)).toEqual(a);
    expect(found.cells.map(({ layer, column }) => exact.at(layer, column) - exact.base)).toEqual(b);
    const errors = a.map((change, cell) => Math.abs(change - (b[cell] as number)));
    expect(found.largestError).toBe(Math.max(...errors));
    expect(found.worst.index).toBe(errors.indexOf(found.largestError));
    expect(found.largestChange).toBe(Math.max(...b.map(Math.abs)));
    expect(found.correlation).toBeCloseTo(slopeOfStandardized(a, b), 10);
    const opposite = a.flatMap((change, cell) => (change * (b[cell] as number) < -1e-4 ? [cell] : []));
    expect(opposite.length).toBeGreaterThan(0);
    expect(found.signDiffers.map(({ index }) => index)).toEqual(expect.arrayContaining(opposite));
    for (const { approximate, exact: change } of found.signDiffers) expect(approximate * change).toBeLessThan(0);
    const sizes = found.signDiffers.map(({ exact: change }) => Math.abs(change));
    expect(sizes).toEqual([...sizes].sort((x, y) => y - x));
  });

  it.each(["z", "pattern"] as const)(
    "has a cell for each head and position of %s, which add up to the head's",
    async (at) => {
      const options = { clean, corrupted, metric: DIFF, at, byPosition: true } as const;
      const found = await compareWithExact(model, options, { sample: 10 });
      const [mine, exact] = [await attributionPatch(model, options), await activationPatch(model, options)];
      expect([...found.grid.values]).toEqual([...mine.values]);
      expect(found.cells.map(({ layer, head = -1, column }) => exact.at([layer, head], column) - exact.base)).toEqual(
        found.cells.map(({ exact: change }) => expect.closeTo(change, 5)),
      );
      expect(found.cells.map(({ layer, head = -1, column }) => mine.at([layer, head], column) - mine.base)).toEqual(
        found.cells.map(({ approximate }) => approximate),
      );
      const heads = await attributionPatch(model, { ...options, byPosition: false });
      const sums = heads.values.map((_, row) => {
        const own = mine.change().subarray(row * clean.length, (row + 1) * clean.length);
        return own.reduce((sum, change) => sum + change, 0);
      });
      expect(relativeError(sums, heads.change())).toBeLessThan(1e-5);
    },
  );

  it("draws a sample from a seed: cells of the whole comparison, each once", async () => {
    const options = { clean, corrupted, metric: DIFF, at: "resid_pre" } as const;
    const { cells } = await compareWithExact(model, options);
    const byIndex = new Map(cells.map((cell) => [cell.index, cell]));
    const samples = await Promise.all([1, 1, 2].map((seed) => compareWithExact(model, options, { sample: 6, seed })));
    for (const sample of samples) {
      expect(new Set(sample.cells.map(({ index }) => index)).size).toBe(6);
      for (const cell of sample.cells) {
        expect(cell.exact).toBeCloseTo(byIndex.get(cell.index)?.exact as number, 5);
        expect([cell.layer, cell.column]).toEqual([byIndex.get(cell.index)?.layer, byIndex.get(cell.index)?.column]);
      }
      expect(sample.grid.values.length).toBe(cells.length);
    }
    const drawn = samples.map((sample) => sample.cells.map(({ index }) => index));
    expect(drawn[0]).toEqual(drawn[1]);
    expect(drawn[0]).not.toEqual(drawn[2]);
  });

  it("has no correlation where nothing varies", async () => {
    const one = { clean, corrupted, metric: DIFF, at: "z", layers: 1, heads: 2 } as const;
    expect((await compareWithExact(model, one)).correlation).toBeNaN();
  });
});

/** Pearson's correlation another way: the least squares slope of one standardized list against the other. */
function slopeOfStandardized(a: readonly number[], b: readonly number[]): number {
  const standardize = (list: readonly number[]) => {
    const mean = list.reduce((sum, x) => sum + x, 0) / list.length;
    const deviation = Math.sqrt(list.reduce((sum, x) => sum + (x - mean) ** 2, 0));
    return list.map((x) => (x - mean) / deviation);
  };
  const [x, y] = [standardize(a), standardize(b)];
  return x.reduce((sum, value, index) => sum + value * (y[index] as number), 0);
}

describe("bad input", () => {
  let model: HookedModel;
  beforeAll(async () => {
    model = await madeModel("layerNorm");
  });
  afterAll(() => model.destroy());

  const right = { clean, corrupted, metric: DIFF, at: "resid_pre" } as const;

  it.each<[string, object, RegExp]>([
    ["a metric of several columns", { metric: metric.logits([1, 2]) }, /HookError hook\/metric: .*gives 2/],
    ["a metric of whole numbers", { metric: metric.rank(3) }, /HookError hook\/metric: .*no gradient/],
    [
      "a metric of the whole sequence",
      { metric: metric.loss() },
      /HookError hook\/metric: .*for gradients alone: backward, /,
    ],
    ["a token that does not exist", { metric: metric.logit(96) }, /HookError hook\/metric: .*out of range/],
    ["kl when noising", { metric: metric.kl(), direction: "noising" }, /HookError hook\/metric: .*gradient is 0/],
    ["prompts of different lengths", { clean: [1, 2] }, /HookError hook\/patch-length/],
    ["the same prompt twice", { corrupted: clean }, /HookError hook\/same-prompts: .*same tokens.*differs/],
    ["two sequences", { clean: [[1], [2]] }, /InputError input\/experiment/],
    ["a site that does not exist", { at: "hook_resid_pre" }, /InputError input\/argument/],
    ["a layer that does not exist", { layers: 3 }, /HookError hook\/layer-range/],
    ["heads without heads", { heads: 0 }, /HookError hook\/head-range/],
    ["a position that does not exist", { positions: 9 }, /HookError hook\/position-range/],
    ["a metric's position that does not exist", { metricPosition: 9 }, /InputError input\/position-range/],
    ["an option that does not exist", { layer: 1 }, /InputError input\/unknown-key: .*"layers"/],
  ])("%s is refused", async (_, change, expected) => {
    const options = { ...right, ...change } as never;
    expect(await failureOf(() => attributionPatch(model, options))).toMatch(expected);
    expect(await failureOf(() => compareWithExact(model, options))).toMatch(expected);
  });

  it("a sample of no cells, or one that is not said rightly, is refused", async () => {
    expect(await failureOf(() => compareWithExact(model, right, { sample: 0 }))).toMatch(
      /input\/argument: .*sample is 0/,
    );
    expect(await failureOf(() => compareWithExact(model, right, { samples: 3 } as never))).toMatch(
      /input\/unknown-key/,
    );
    expect(await failureOf(() => attributionPatch(model, { ...right, onProgress: () => undefined } as never))).toMatch(
      /input\/unknown-key/,
    );
  });

  it("ends with the signal's reason, and leaves nothing behind", async () => {
    await attributionPatch(model, right);
    const before = model.gpu.memory.buffers;
    const signal = AbortSignal.abort(new Error("enough"));
    await expect(attributionPatch(model, { ...right, signal })).rejects.toThrow("enough");
    await expect(compareWithExact(model, { ...right, signal })).rejects.toThrow("enough");
    expect(await failureOf(() => attributionPatch(model, { ...right, metric: metric.rank(1) }))).toMatch(
      /hook\/metric/,
    );
    await attributionPatch(model, right);
    expect(model.gpu.memory.buffers).toBe(before);
  });
});
