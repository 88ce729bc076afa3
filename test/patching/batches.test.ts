/** Experiments over several prompts: each prompt's grid is the one that it has alone, and the whole grid is their mean. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Grid, type HookedModel, metric } from "../../src/hooks/index.ts";
import { type AblateOptions, ablate, activationPatch } from "../../src/hooks/patching/index.ts";
import { failureOf } from "../hooks/support.ts";
import { hooked, promptPair } from "./support.ts";

const PAIRS = [promptPair(1, 6), promptPair(2, 9), promptPair(3, 4)];
const EVEN = [promptPair(4, 5), promptPair(5, 5)];
const METRICS = [metric.logitDiff(3, 40), metric.kl(), metric.logProb(7)];

let model: HookedModel;
beforeAll(async () => {
  model = await hooked("llama");
});
afterAll(() => model.destroy());

const largest = (values: Iterable<number>) => Math.max(...Array.from(values, Math.abs));

/** Whether a grid has the grids of its prompts, as they are alone, and is their mean. */
function expectMean(grid: Grid & { prompts: readonly Grid[] }, alone: readonly Grid[]): void {
  expect(grid.prompts).toHaveLength(alone.length);
  const scale = largest(alone.flatMap(({ values, base }) => [...values, base]));
  const mean = (of: (grid: Grid) => number) => alone.reduce((sum, each) => sum + of(each) / alone.length, 0);
  for (const [prompt, { values, base }] of alone.entries()) {
    const own = grid.prompts[prompt] as Grid;
    expect(largest(values.map((value, cell) => value - (own.values[cell] as number))) / scale).toBeLessThan(1e-5);
    expect(Math.abs(base - own.base) / scale).toBeLessThan(1e-5);
    expect(largest(own.change())).toBeGreaterThan(3e-5 * scale); // something happens, beyond what may differ
  }
  const means = grid.values.map((value, cell) => value - mean(({ values }) => values[cell] as number));
  expect(largest([...means, grid.base - mean(({ base }) => base)]) / scale).toBeLessThan(1e-5);
}

describe("activation patching", () => {
  it.each([
    { direction: "denoising" },
    { direction: "noising" },
    { positions: [-1, 1], layers: [1], heads: [2, 0] },
    { metricPosition: 2 },
  ] as const)("of heads in pairs of several lengths, %o", async (more) => {
    const options = { at: "z", ...more } as const;
    const [clean, corrupted] = [PAIRS.map((pair) => pair.clean), PAIRS.map((pair) => pair.corrupted)];
    const grid = await activationPatch(model, { ...options, clean, corrupted, metric: METRICS });
    const alone = [];
    for (const [index, pair] of PAIRS.entries())
      alone.push(await activationPatch(model, { ...options, ...pair, metric: METRICS[index] as (typeof METRICS)[0] }));
    expectMean(grid, alone);
    expect(grid.clean).toBeCloseTo(
      alone.reduce((sum, each) => sum + each.clean / 3, 0),
      4,
    );
    expect(grid.corrupted).toBeCloseTo(
      alone.reduce((sum, each) => sum + each.corrupted / 3, 0),
      4,
    );
    expect(grid.toJSON().prompts).toHaveLength(3);
  });

  it("of positions in pairs of one length, whose columns have no token where the prompts differ", async () => {
    const [clean, corrupted] = [EVEN.map((pair) => pair.clean), EVEN.map((pair) => pair.corrupted)];
    const options = { at: "resid_pre", metric: metric.logitDiff(3, 40) } as const;
    const grid = await activationPatch(model, { ...options, clean, corrupted });
    expectMean(grid, await Promise.all(EVEN.map((pair) => activationPatch(model, { ...options, ...pair }))));
    const [one, other] = corrupted as [number[], number[]];
    expect(grid.columns.labels).toEqual(
      one.map((id, position) => (id === other[position] ? `${position}:#${id}` : `${position}`)),
    );
    expect(grid.columns.labels).toContain("0");
  });

  it("refuses what does not fit together", async () => {
    const [clean, corrupted] = [PAIRS.map((pair) => pair.clean), PAIRS.map((pair) => pair.corrupted)];
    const good = { clean, corrupted, metric: METRICS, at: "z" } as const;
    const failure = (more: object) => failureOf(() => activationPatch(model, { ...good, ...more }));
    expect(await failure({ at: "resid_pre" })).toMatch(/hook\/patch-length.*6 and 9 tokens.*at "z"/);
    expect(await failure({ corrupted: corrupted.slice(1) })).toMatch(/input\/experiment.*3 clean.*2 corrupted/);
    expect(await failure({ corrupted: [...corrupted].reverse() })).toMatch(/hook\/patch-length.*pair 0/);
    expect(await failure({ corrupted: [corrupted[0], clean[1], corrupted[2]] })).toMatch(/hook\/same-prompts.*pair 1/);
    expect(await failure({ metric: METRICS.slice(1) })).toMatch(/hook\/metric.*2 metrics for 3 prompts/);
    expect(await failure({ metric: metric.logits([1, 2]) })).toMatch(/hook\/metric.*one number/);
    expect(await failure({ positions: [4] })).toMatch(/hook\/position-range.*4 tokens/);
  });
});

describe("ablation", () => {
  const reference = [promptPair(21, 9).clean, promptPair(22, 12).clean];
  const input = PAIRS.map(({ clean }) => clean);

  it.each<Partial<AblateOptions> & Pick<AblateOptions, "kind">>([
    { kind: "zero" },
    { kind: "zero", at: "mlp_out", positions: [-1, 0] },
    { kind: "mean", reference },
    { kind: "resample", reference, samples: 2, seed: 3, at: "v" },
  ])("of prompts of several lengths, %o", async (options) => {
    const metrics = [metric.logitDiff(3, 40), metric.logit(5), metric.logProb(7)];
    const grid = await ablate(model, { ...options, input, metric: metrics });
    const alone = [];
    for (const [index, ids] of input.entries())
      alone.push(await ablate(model, { ...options, input: ids, metric: metrics[index] as (typeof metrics)[0] }));
    expectMean(grid, alone);
    expect(grid.draws).toEqual(alone[0]?.draws);
  });

  it("by means at each position takes prompts of one length, in whatever order positions are given", async () => {
    const options = {
      kind: "mean",
      meanOver: "position",
      reference,
      metric: metric.logit(5),
      positions: [3, 1],
    } as const;
    const even = EVEN.map(({ clean }) => clean);
    const grid = await ablate(model, { ...options, input: even });
    expectMean(grid, await Promise.all(even.map((ids) => ablate(model, { ...options, input: ids }))));
    expect(await failureOf(() => ablate(model, { ...options, input }))).toMatch(/hook\/patch-length.*6 and 9 tokens/);
  });
});
