/**
 * Metrics of one's own in sweeps, experiments and backward passes: expressions and weights of the logits, and projections of points. Each
 * is worked out in float64 of what full edited passes show.
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { axisSize } from "../../src/hooks/edit.ts";
import {
  ablate,
  activationPatch,
  attributionPatch,
  causalTrace,
  type Edit,
  edgeAttribution,
  type HookedModel,
  type Metric,
  metric,
  pathPatch,
  pointTable,
} from "../../src/hooks/index.ts";
import { promptPair } from "../patching/support.ts";
import { byDay } from "../support/nightly.ts";
import { gaussians, relativeError, seeded } from "../support/numbers.ts";
import { failureOf, hooked, logitsOf, randomEdit, randomIds, withForward } from "./support.ts";

const VOCAB = 96;
const TOLERANCE = 1e-4;
const dot = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  Array.from(a).reduce((sum, value, i) => sum + value * (b[i] as number), 0);

/** The value of a projection in a full pass. */
async function projected(
  model: HookedModel,
  ids: number[],
  { at = "", reference = [], head }: Metric,
  edits: Edit[] = [],
  position = -1,
): Promise<number> {
  return await withForward(model, ids, { edits, capture: at, positions: [position] }, async ({ cache }) =>
    dot(await cache.read(at, head === undefined ? {} : { heads: [head] }), reference),
  );
}

/** A projection of every kind of point that has a vector for each position, at some layer. */
function projections({ spec }: HookedModel): Metric[] {
  return [...pointTable(spec).values()].flatMap((point): Metric[] => {
    const { name, kind, layer, order } = point;
    if (kind.axes.includes("key") || name === "logits") return [];
    if (layer !== undefined && layer !== order % spec.nLayers) return [];
    const own = kind.axes.slice(2).map((axis) => axisSize(axis, { spec, lengths: [1] }, point));
    const hasHeads = own.length > 1;
    const size = own.reduce((product, each) => product * each, 1);
    const whole = metric.project(name, gaussians(seeded(order), size));
    const [heads = 1, width = 1] = own;
    return hasHeads ? [whole, metric.project(name, gaussians(seeded(order + 9), width), heads - 1)] : [whole];
  });
}

describe.each(byDay(["gpt2", "gemma2", "gptj"], ["gemma2"]))("in %s", (family) => {
  let model: HookedModel;
  beforeAll(async () => {
    model = await hooked(family);
  });
  afterAll(() => model.destroy());

  it("sweeps project every point, with and without logits beside it, at any position", async () => {
    const random = seeded(family.length);
    const ids = randomIds(random, 7);
    const metrics = projections(model);
    expect(metrics.length).toBeGreaterThan(20);
    const cells = Array.from({ length: 8 }, () => [
      randomEdit(random, model.spec, 7),
      randomEdit(random, model.spec, 7),
    ]);
    for (const position of byDay([-1, 3], [-1])) {
      for (const [turn, some] of [metrics, metrics.slice(0, 4), metrics.slice(9, 12)].entries()) {
        const own = turn === 0 ? [metric.logitDiff(3, 40), ...some, metric.logProb(5)] : some;
        const { values, base, columns } = await model.sweep({ input: ids, cells, metric: own, position });
        for (const [index, each] of own.entries()) {
          if (each.kind !== "project") continue;
          const expected = [];
          for (const edits of [...cells, []]) expected.push(await projected(model, ids, each, edits, position));
          const is = [...cells.map((_, cell) => values[cell * columns + index] as number), base[index] as number];
          expect(relativeError(is, expected), `${each.at} at ${position}`).toBeLessThan(TOLERANCE);
        }
        if (turn > 0) continue;
        for (const [cell, edits] of cells.entries()) {
          const logits = (await logitsOf(model, ids, { edits })).subarray(VOCAB * (position < 0 ? 6 : 3));
          expect(values[cell * columns]).toBeCloseTo((logits[3] as number) - (logits[40] as number), 3);
        }
      }
    }
  });

  it("sweeps compute no more than the projection needs", async () => {
    const ids = randomIds(seeded(1), 6);
    const early = metric.project("blocks.0.hook_resid_post", gaussians(seeded(2), model.spec.dModel));
    const edit = (at: string): Edit => ({ at, op: "zero", positions: [-1] });
    const cells = [[edit("blocks.1.hook_attn_out")], [edit("blocks.0.hook_attn_out")]];
    const { values, base, work } = await model.sweep({ input: ids, cells, metric: early });
    expect(values[0]).toBe(base[0]);
    expect(values[1]).not.toBe(base[0]);
    expect(work).toMatchObject({ passes: 1, rowLayers: 1 });
  });

  it("backward gives the gradient of a projection, as small changes of the point show", async () => {
    const ids = randomIds(seeded(3), 5);
    const step = 1e-2;
    const names = [
      "blocks.1.attn.hook_q",
      "blocks.1.hook_k_input",
      "blocks.1.attn.hook_z",
      "blocks.1.mlp.hook_post",
      "blocks.2.hook_resid_pre",
    ];
    for (const each of projections(model).filter(
      ({ at }) => names.includes(at as string) || at === "ln_final.hook_normalized",
    )) {
      const from = "blocks.0.hook_attn_out";
      for (const position of [-1, 2]) {
        using result = await model.backward(ids, { metric: each, at: [from, each.at as string], position });
        expect(result.value[0]).toBeCloseTo(await projected(model, ids, each, [], position), 3);
        const grads = await result.grads.read(from);
        const direction = gaussians(seeded(4), model.spec.dModel);
        const moved = (alpha: number): Edit[] => [{ at: from, op: "add", value: direction, alpha, positions: [1] }];
        const cells = [2 * step, step, -step, -2 * step].map(moved);
        const { values } = await model.sweep({ input: ids, cells, metric: each, position });
        const [a, b, c, d] = values as unknown as [number, number, number, number];
        const slope = (8 * (b - c) - (a - d)) / (12 * step);
        const along = dot(grads.subarray(model.spec.dModel, 2 * model.spec.dModel), direction);
        expect(Math.abs(along - slope), `${each.at}, ${each.head}`).toBeLessThan(3e-3 * (Math.abs(slope) + 1));
      }
    }
  });

  it("experiments measure a projection, and the outcome of the other prompt", async () => {
    const { clean, corrupted } = promptPair(4, 6);
    const own = metric.project("blocks.1.hook_resid_post", gaussians(seeded(6), model.spec.dModel));
    const grid = await activationPatch(model, { clean, corrupted, metric: own, at: "z", layers: [0, 1] });
    const ends = [await projected(model, clean, own), await projected(model, corrupted, own)];
    expect(relativeError([grid.clean, grid.corrupted], ends)).toBeLessThan(TOLERANCE);
    using run = await model.forward(clean, { capture: "*.hook_z" });
    const at = "blocks.1.attn.hook_z";
    const patch: Edit = { at, op: "set", heads: [1], value: run.cache.at(at) };
    expect(relativeError([grid.at(1, 1)], [await projected(model, corrupted, own, [patch])])).toBeLessThan(TOLERANCE);
    // What is measured is linear in what is patched.
    const last = { clean, corrupted, metric: own, at: "resid_post", layers: [1], direction: "noising" } as const;
    const [exact, linear] = [await activationPatch(model, last), await attributionPatch(model, last)];
    expect(relativeError(linear.values, exact.values)).toBeLessThan(TOLERANCE);
    expect(relativeError([linear.clean, linear.corrupted], ends)).toBeLessThan(TOLERANCE);
    const zeros = await ablate(model, { input: clean, metric: own, kind: "zero", at: "mlp_out", layers: [0] });
    const without: Edit = { at: "blocks.0.hook_mlp_out", op: "zero" };
    expect(relativeError([zeros.at(0)], [await projected(model, clean, own, [without])])).toBeLessThan(TOLERANCE);
    const trace = await causalTrace(model, { prompt: clean, subject: [1], metric: own, samples: 2, layers: [1] });
    expect(relativeError([trace.clean], ends.slice(0, 1))).toBeLessThan(TOLERANCE);
    const paths = await pathPatch(model, { clean, corrupted, metric: own, receivers: { at: "mlp", layer: 1 } });
    expect(relativeError([paths.clean, paths.corrupted], ends)).toBeLessThan(TOLERANCE);
  });
});

describe("expressions and weights", () => {
  let model: HookedModel;
  beforeAll(async () => {
    model = await hooked("llama");
  });
  afterAll(() => model.destroy());
  const softmax = (logits: ArrayLike<number>) => {
    const largest = Math.max(...Array.from(logits));
    const total = Array.from(logits).reduce((sum, logit) => sum + Math.exp(logit - largest), 0);
    return Array.from(logits, (logit) => Math.exp(logit - largest) / total);
  };

  it("are measured in the cells of several prompts, each with its own", async () => {
    const random = seeded(8);
    const input = [randomIds(random, 5), randomIds(random, 8)];
    const weights = [gaussians(random, VOCAB), gaussians(random, VOCAB)];
    const metrics = weights.map((w) => [
      metric.wgsl({ term: "-p * logP" }),
      metric.wgsl({ term: "p * w", weights: w }),
      metric.weighted(w),
      metric.logit(7),
    ]);
    const cells = Array.from({ length: 5 }, () => [randomEdit(random, model.spec, 5)]);
    const { prompts, columns } = await model.sweep({ input, cells, metric: metrics });
    for (const [prompt, ids] of input.entries()) {
      const own = weights[prompt] as Float32Array;
      const expected = [];
      for (const edits of [...cells, []]) {
        const logits = (await logitsOf(model, ids, { edits })).slice(-VOCAB);
        const p = softmax(logits);
        expected.push(
          p.reduce((sum, each) => sum - each * Math.log(each), 0),
          dot(p, own),
          dot(logits, own),
          logits[7] as number,
        );
      }
      const { values, base } = prompts[prompt] as { values: Float32Array; base: Float32Array };
      for (let column = 0; column < columns; column++) {
        const pick = (list: ArrayLike<number>) => Array.from(list).filter((_, i) => i % columns === column);
        expect(relativeError([...pick(values), ...pick(base)], pick(expected)), `${column}`).toBeLessThan(TOLERANCE);
      }
    }
  });

  it("serve experiments; a gradient is asked for only where it is needed", async () => {
    const { clean, corrupted } = promptPair(4, 6);
    const entropy = metric.wgsl({ term: "-p * logP" });
    const shared = { clean, corrupted, at: "resid_pre", layers: [1] } as const;
    const grid = await activationPatch(model, { ...shared, metric: entropy });
    const of = (logits: Float32Array) => softmax(logits.slice(-VOCAB)).reduce((sum, p) => sum - p * Math.log(p), 0);
    expect(grid.clean).toBeCloseTo(of(await logitsOf(model, clean)), 4);
    expect(await failureOf(() => attributionPatch(model, { ...shared, metric: entropy }))).toMatch(
      /hook\/expression: Metric wgsl has no gradient, which is needed here\. Give it beside term/,
    );
    const whole = metric.wgsl({ term: "-p * logP", gradient: "-p * (logP + value)" });
    const linear = await attributionPatch(model, { ...shared, metric: whole });
    expect(linear.clean).toBeCloseTo(grid.clean, 4);
    expect(linear.corrupted).toBeCloseTo(grid.corrupted, 4);
  });
});

describe("is refused", () => {
  let model: HookedModel;
  beforeAll(async () => {
    model = await hooked("gpt2");
  });
  afterAll(() => model.destroy());
  const z = "blocks.0.attn.hook_z";

  it.each<[string, Metric, RegExp]>([
    [
      "a point that does not exist",
      metric.project("blocks.0.hook_zz", [1]),
      /hook\/no-such-point: "blocks\.0\.hook_zz"/,
    ],
    ["a pattern", metric.project("blocks.*.hook_resid_pre", [1]), /hook\/no-such-point: .* is a pattern/],
    ["an axis of keys", metric.project("blocks.0.attn.hook_pattern", [1]), /hook\/metric: .*has an entry for each key/],
    ["the logits", metric.project("logits", [1]), /hook\/metric: .*give metric\.weighted/],
    [
      "a vector of another length",
      metric.project(z, [1, 2]),
      /its vector has 2 numbers; .*hook_z has \[4, 8\] at a position, so it takes 32, or a head/,
    ],
    ["a head's vector that is too long", metric.project(z, new Float32Array(32), 1), /it takes 8\./],
    [
      "a head that is not there",
      metric.project(z, new Float32Array(8), 4),
      /hook\/head-range: There is no head 4; they go from 0 to 3/,
    ],
    [
      "a head of a point without",
      metric.project("blocks.0.hook_resid_pre", new Float32Array(32), 0),
      /hook\/head-range: .* has no heads/,
    ],
    ["no vector", { kind: "project", tokens: [], at: z }, /hook\/metric: .*needs a point and a vector/],
    ["a head in another metric", { ...metric.logit(3), head: 1 }, /input\/idle-option: .*head/],
  ])("%s", async (_, own, message) => {
    expect(await failureOf(() => model.sweep({ input: [1, 2], cells: [[]], metric: own }))).toMatch(message);
    expect(await failureOf(() => model.backward([1, 2], { metric: own, at: "hook_embed" }))).toMatch(message);
  });

  it("several points in one backward pass, and a circuit of a point inside", async () => {
    const own = metric.project(z, new Float32Array(32).fill(1));
    const input = [
      [1, 2],
      [3, 4],
    ];
    expect(await failureOf(() => model.backward(input, { metric: [own, metric.logit(5)], at: "hook_embed" }))).toMatch(
      /hook\/metric: A backward pass begins at one point, and the metrics measure blocks\.0\.attn\.hook_z and logits/,
    );
    const pair = { clean: [1, 2], corrupted: [1, 3], metric: own, method: "eap" } as const;
    expect(await failureOf(() => edgeAttribution(model, pair))).toMatch(
      /hook\/metric: A circuit's graph ends at the logits/,
    );
  });
});
