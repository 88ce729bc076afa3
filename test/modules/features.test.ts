/** What is made of features: the strongest of a prompt, the places of a text, and what a metric owes them. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  type Dictionary,
  featureAttribution,
  type HookedModel,
  loadDictionary,
  MaxActivating,
  maxActivating,
  metric,
  topFeatures,
} from "../../src/hooks/index.ts";
import { randomIds } from "../hooks/support.ts";
import { seeded } from "../support/numbers.ts";
import { hooked, MODULES } from "./support.ts";

const IDS = [
  [5, 6, 7, 8, 9, 10],
  [11, 12, 13],
];

let model: HookedModel;
let sae: Dictionary;
beforeAll(async () => {
  model = await hooked("gpt2");
  sae = await loadDictionary(model, `${MODULES}gpt2-standard`);
});
afterAll(() => {
  sae.destroy();
  model.destroy();
});

const ACTS = "blocks.1.hook_resid_post.hook_sae_acts_post";

/** Every activation, [batch][position][feature]. */
async function activations(ids: readonly (readonly number[])[]): Promise<number[][][]> {
  using spliced = model.withModules(sae);
  using result = await spliced.forward(ids, { capture: ACTS });
  const all = await result.cache.read(ACTS);
  const longest = Math.max(...ids.map(({ length }) => length));
  return ids.map((list, batch) =>
    list.map((_, position) => [
      ...all.subarray((batch * longest + position) * sae.dSae, (batch * longest + position + 1) * sae.dSae),
    ]),
  );
}

describe("topFeatures", () => {
  it("are the largest activations of each position, falling", async () => {
    const all = await activations(IDS);
    const found = await topFeatures(model, sae, IDS, { count: 4 });
    expect(found.map(({ batch, position }) => [batch, position])).toEqual(
      IDS.flatMap((list, batch) => list.map((_, position) => [batch, position])),
    );
    for (const { batch, position, features, activations: own } of found) {
      const row = all[batch]![position]!;
      const order = [...row.keys()].sort((a, b) => row[b]! - row[a]!).slice(0, 4);
      expect([...features]).toEqual(order);
      expect([...own]).toEqual(order.map((index) => row[index]));
    }
  });
});

describe("maxActivating", () => {
  it("keeps the best places of each feature, goes on after an interruption, and is saved", async () => {
    const sequences = Array.from({ length: 7 }, (_, index) => randomIds(seeded(index), 9));
    const all = await activations(sequences);
    const whole = await maxActivating(model, sae, sequences, { count: 3, batch: 2 });
    const half = await maxActivating(model, sae, sequences.slice(0, 4), { count: 3, batch: 3 });
    const seen: number[] = [];
    const resumed = await maxActivating(model, sae, sequences, {
      resume: await MaxActivating.load(half.save()),
      onProgress: ({ done }) => void seen.push(done),
    });
    expect(seen).toEqual([7]);
    for (const found of [whole, resumed]) {
      expect(found.done).toBe(7);
      for (let feature = 0; feature < sae.dSae; feature++) {
        const places = all.flatMap((rows, sequence) =>
          rows.map((row, position) => ({ activation: row[feature]!, sequence, position })),
        );
        const active = places.filter(({ activation }) => activation > 0);
        expect(found.frequencies[feature]).toBe(active.length);
        const best = active.sort((a, b) => b.activation - a.activation).slice(0, 3);
        expect(found.of(feature).map(({ activation }) => activation)).toEqual(best.map(({ activation }) => activation));
        expect(found.of(feature)[0]).toEqual(best[0]);
      }
    }
  });
});

describe("featureAttribution", () => {
  it("is activation times gradient, beside what a full pass without the feature loses", async () => {
    const measure = metric.logitDiff(3, 4);
    const [input] = IDS;
    const { value, features } = await featureAttribution(model, sae, {
      input: input!,
      metric: measure,
      count: 8,
      exact: true,
    });
    expect(features).toHaveLength(8);
    using spliced = model.withModules(sae);
    for (const { position, feature, activation, gradient, attribution, exact } of features) {
      expect(attribution).toBeCloseTo(activation * gradient, 6);
      const edits = { at: ACTS, op: "zero", dims: [feature], positions: [position] } as const;
      using without = await spliced.forward(input!, { edits, logits: "last" });
      const logits = await without.logits.at(0, -1);
      expect(exact).toBeCloseTo(value - (logits[3]! - logits[4]!), 4);
    }
    const sizes = features.map(({ attribution }) => Math.abs(attribution));
    expect(sizes).toEqual([...sizes].sort((a, b) => b - a));
  });
});
