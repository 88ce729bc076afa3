/** A sweep over several prompts gives, for each, what full edited passes over the batch give, and their mean. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Edit, type HookedModel, metric } from "../../src/hooks/index.ts";
import { byDay } from "../support/nightly.ts";
import { integer, relativeError, seeded } from "../support/numbers.ts";
import { failureOf, hooked, randomEdit, randomIds } from "./support.ts";

const VOCAB = 96;
const ALL_TOKENS = Array.from({ length: VOCAB }, (_, token) => token);

/** Largest relative error of a sweep's logits, over cells and prompts, against one full pass over the batch a cell. */
async function furthest(model: HookedModel, input: number[][], cells: Edit[][], position: number): Promise<number> {
  const { prompts, values } = await model.sweep({ input, cells, metric: metric.logits(ALL_TOKENS), position });
  expect(prompts).toHaveLength(input.length);
  let worst = 0;
  for (const [cell, edits] of cells.entries()) {
    const cut = (list: Float32Array) => list.slice(VOCAB * cell, VOCAB * (cell + 1));
    using full = await model.forward(input, { edits });
    const sum = new Float64Array(VOCAB);
    for (const [prompt, ids] of input.entries()) {
      const at = position < 0 ? ids.length + position : position;
      const expected = await full.logits.at(prompt, at);
      worst = Math.max(worst, relativeError(cut((prompts[prompt] as { values: Float32Array }).values), expected));
      expected.forEach((logit, token) => {
        sum[token] = (sum[token] as number) + logit / input.length;
      });
    }
    worst = Math.max(worst, relativeError(cut(values), Float32Array.from(sum)));
  }
  return worst;
}

/** Plain; windows, soft caps and norms after; grouped queries; ALiBi; parallel. */
describe.each(byDay(["gpt2", "gemma2", "llama", "bloom", "gptj"], ["gpt2", "gemma2", "llama"]))("%s", (family) => {
  let model: HookedModel;
  beforeAll(async () => {
    model = await hooked(family);
  });
  afterAll(() => model.destroy());

  it("equals full passes for random edits of prompts of one length", async () => {
    const random = seeded(family.length);
    const input = Array.from({ length: 3 }, () => randomIds(random, 11));
    const cells = Array.from({ length: 12 }, () =>
      Array.from({ length: integer(random, 0, 3) }, () => randomEdit(random, model.spec, 11)),
    );
    for (const position of [-1, 6]) expect(await furthest(model, input, cells, position)).toBeLessThan(1e-4);
  });

  it("equals full passes for prompts of several lengths, whichever share a pass", async () => {
    const random = seeded(2 * family.length);
    const input = [7, 12, 4].map((length) => randomIds(random, length));
    using other = await model.forward(
      input.map(({ length }) => randomIds(random, length)),
      { capture: ["*.hook_resid_pre", "*.hook_pattern"] },
    );
    const value = (at: string) => ({ at, value: other.cache.at(at) }) as const;
    const cells: Edit[][] = [
      [],
      [{ ...value("blocks.1.hook_resid_pre"), op: "set", positions: [-1] }],
      [{ ...value("blocks.0.hook_resid_pre"), op: "lerp", alpha: 0.5 }],
      [{ ...value("blocks.1.attn.hook_pattern"), op: "set", heads: [1] }],
      [{ at: "blocks.1.attn.hook_z", op: "zero", batch: [0, 2], heads: [0] }],
      [{ at: "blocks.0.hook_mlp_out", op: "scale", value: 2, positions: [1, -2] }],
      [{ at: "blocks.1.hook_attn_out", op: "wgsl", expression: "x * (1.0 + f32(b) + 0.1 * f32(p))" }],
    ];
    for (const position of [-1, 3]) expect(await furthest(model, input, cells, position)).toBeLessThan(1e-4);
    const narrow = { input, cells, metric: metric.logits(ALL_TOKENS) };
    const [one, many] = [await model.sweep({ ...narrow, memoryBudget: 1 }), await model.sweep(narrow)];
    expect(one.work.passes).toBeGreaterThan(many.work.passes);
    expect(relativeError(one.values, many.values)).toBeLessThan(1e-5);
  });

  it("measures each prompt by its own metrics, and compares it with its own run", async () => {
    const random = seeded(3 * family.length);
    const input = [5, 9].map((length) => randomIds(random, length));
    const cells: Edit[][] = [
      [{ at: "blocks.0.hook_mlp_out", op: "zero" }],
      [{ at: "*.attn.hook_z", op: "zero", heads: [0] }],
    ];
    const lists = [
      [metric.kl(), metric.logitDiff(3, 7)],
      [metric.kl(), metric.logit(9)],
    ] as const;
    const { prompts, base, columns } = await model.sweep({ input, cells, metric: lists });
    expect(columns).toBe(2);
    for (const [prompt, ids] of input.entries()) {
      const alone = await model.sweep({ input: ids, cells, metric: lists[prompt] as (typeof lists)[0] });
      expect(relativeError((prompts[prompt] as { values: Float32Array }).values, alone.values)).toBeLessThan(1e-5);
      expect(relativeError((prompts[prompt] as { base: Float32Array }).base, alone.base)).toBeLessThan(1e-5);
    }
    expect(base[1]).toBeCloseTo(
      prompts.reduce((sum, each) => sum + (each.base[1] as number) / 2, 0),
      5,
    );
  });

  it("refuses metrics that do not fit the prompts, and positions that one of them lacks", async () => {
    const good = {
      input: [
        [1, 2, 3],
        [4, 5],
      ],
      cells: [],
      metric: metric.logit(1),
    };
    const failure = (more: object) => failureOf(() => model.sweep({ ...good, ...more }));
    const one = [metric.logit(1)];
    expect(await failure({ metric: [one] })).toMatch(/hook\/metric.*1 lists of metrics for 2 prompts/);
    expect(await failure({ metric: [one, [...one, ...one]] })).toMatch(
      /hook\/metric.*prompt 0 have 1 columns.*prompt 1 2/,
    );
    expect(await failure({ metric: [one, []] })).toMatch(/hook\/metric.*empty/);
    expect(await failure({ metric: [one, [metric.logit(VOCAB)]] })).toMatch(/hook\/metric.*out of range/);
    expect(await failure({ position: 2 })).toMatch(/input\/position-range.*prompt 1 has 2 tokens/);
    expect(await failure({ cells: [[{ at: "hook_embed", op: "zero", positions: [2] }]] })).toMatch(
      /hook\/position-range: Cell 0: .*batch entry 1 has no position 2/,
    );
  });
});
