/**
 * Whatever is fused, a pass gives the same: random points are captured and changed in every family, and ops run fused, fused
 * by some of the rules, and one by one.
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { FUSION_RULES, type FusionRule } from "../../src/graph/fuse.ts";
import { type Edit, HookedModel } from "../../src/hooks/index.ts";
import { metric } from "../../src/hooks/metrics.ts";
import { pointTable } from "../../src/hooks/points.ts";
import { Plans } from "../../src/model/plans.ts";
import { EXPERT_TYPES, FAMILIES, loadFixture, randomIds } from "../support/fixtures.ts";
import { byDay } from "../support/nightly.ts";
import { integer, relativeError, seeded } from "../support/numbers.ts";

/** Seen: up to 2e-6, where soft caps and many layers meet. */
const TOLERANCE = 1e-5;

/** One by one, and by a random half of the rules. */
const withRules = (random: () => number): Record<string, readonly FusionRule[]> => ({
  "one by one": [],
  "by some rules": FUSION_RULES.filter(() => random() < 0.5),
});

// Of those with experts some, which have every part of them between them.
const TYPES = [...EXPERT_TYPES.filter((name) => /gpt_oss|qwen2_moe|ernie/.test(name)), "../types/gemma4_text_ple"];

const SETS = [1, 2, 3];

describe.each([...FAMILIES, ...TYPES])("%s", (family) => {
  let model: HookedModel;
  beforeAll(async () => {
    model = new HookedModel(await loadFixture(family));
  });
  afterAll(() => model.destroy());

  const run = async (
    rules: readonly FusionRule[],
    options: Parameters<HookedModel["forward"]>[1],
    batch: number[][],
  ) => {
    const { engine, spec } = model.base;
    engine.plans = new Plans(spec, rules);
    const { logits, cache } = await model.forward(batch, options);
    const points = new Map<string, Float32Array>();
    for (const name of cache.names) points.set(name, await cache.read(name));
    const numbers = await logits.read();
    logits.destroy();
    cache.destroy();
    engine.plans = new Plans(spec);
    return { numbers, points };
  };

  it.each(byDay(SETS, [1]))("gives the same logits and captures however ops are fused, set %i", async (set) => {
    const random = seeded(100 * set + family.length);
    const names = [...pointTable(model.spec).keys()];
    const capture = names.filter((name) => random() < 0.15 && name !== "logits");
    const edits: Edit[] = names
      .filter(() => random() < 0.05)
      .map((at) => ({ at, op: "scale", value: 0.5 + random(), positions: [integer(random, 0, 3)] }));
    const batch = [randomIds(model.base, set, 4), randomIds(model.base, set + 9, 7)];
    const logits = set === 1 ? "all" : set === 2 ? "last" : [1, -1];
    const allowed = logits === "all" ? edits : edits.filter(({ at }) => at !== "logits");
    const options = { edits: allowed, logits, ...(capture.length > 0 && { capture }) } as const;
    const fused = await run(FUSION_RULES, options, batch);
    for (const [how, rules] of Object.entries(withRules(random))) {
      const other = await run(rules, options, batch);
      expect(relativeError(other.numbers, fused.numbers), how).toBeLessThan(TOLERANCE);
      for (const [name, numbers] of fused.points) {
        const [a, b] = [finite(other.points.get(name) as Float32Array), finite(numbers)];
        expect(relativeError(a, b), `${how}, ${name}`).toBeLessThan(TOLERANCE);
      }
    }
  });

  it("gives the same sweep", async () => {
    const ids = randomIds(model.base, 5, 6);
    const cells = ["hook_embed", "blocks.1.attn.hook_k", "blocks.1.attn.hook_z", "blocks.0.hook_resid_post"].map(
      (at): Edit => ({ at, op: "scale", value: 1.5, positions: [2] }),
    );
    const values = [];
    for (const rules of [FUSION_RULES, []]) {
      model.base.engine.plans = new Plans(model.spec, rules);
      values.push((await model.sweep({ input: [ids], cells, metric: metric.logits([1, 2, 3]) })).values);
    }
    model.base.engine.plans = new Plans(model.spec);
    expect(relativeError(values[1] as Float32Array, values[0] as Float32Array)).toBeLessThan(TOLERANCE);
  });
});

/** Masked scores are minus infinity in both. */
const finite = (numbers: Float32Array) => numbers.map((value) => (Number.isFinite(value) ? value : 0));
