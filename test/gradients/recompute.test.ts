/** Recomputing gives the gradients that keeping gives, from a third of the memory. */
import { describe, expect, it } from "vitest";
import { SHAPES } from "../../src/bench/index.ts";
import type { Place, Plan } from "../../src/graph/place.ts";
import { HookedModel } from "../../src/hooks/hooked-model.ts";
import { metric } from "../../src/hooks/metrics.ts";
import { specFromConfig } from "../../src/model/families/index.ts";
import { Plans } from "../../src/model/plans.ts";
import type { PassHooks } from "../../src/ops/bindings.ts";
import { FAMILIES, golden, loadFixture } from "../support/fixtures.ts";
import { byDay } from "../support/nightly.ts";
import { relativeError } from "../support/numbers.ts";

/** Learned positions; ALiBi and a norm of embeddings; soft caps, windows and norms after; parallel halves; norms of queries. */
const DAY = ["gpt2", "bloom", "gemma2", "gpt_neox", "qwen3"] as const;

const ROWS = 128;

/** The most bytes that the slots of a plan take at once, for so many rows of one sequence of which the last gives logits. */
function peakBytes({ ops, slots }: Plan): number {
  const bytesOf = ({ slot }: Place) => {
    const sizes = [...(slots[slot]?.holds ?? [])].map(
      ([set, { heads, width }]) => (typeof set === "number" ? ROWS : 1) * heads * (width === "keys" ? ROWS : width) * 4,
    );
    return slots[slot]?.outside ? 0 : Math.max(...sizes);
  };
  const live = new Map<number, number>();
  let most = 0;
  for (const { inputs, outputs, frees } of ops) {
    for (const place of [...inputs, ...outputs]) live.set(place.slot, bytesOf(place));
    most = Math.max(
      most,
      [...live.values()].reduce((sum, bytes) => sum + bytes, 0),
    );
    for (const slot of frees) live.delete(slot);
  }
  return most;
}

describe("recompute", () => {
  it.each(byDay(FAMILIES, DAY))("gives %s the same gradients", async (family) => {
    const model = new HookedModel(await loadFixture(family));
    const { ids } = await golden(family);
    const options = {
      metric: metric.logProb(5),
      at: ["*.hook_resid_pre", "blocks.1.attn.hook_z", "blocks.0.mlp.hook_post"],
      weights: "*",
      edits: [{ at: "blocks.1.attn.hook_q", op: "scale", value: 0.5, positions: [3] }] as const,
    };
    const [kept, again] = [
      await model.backward(ids, options),
      await model.backward(ids, { ...options, recompute: true }),
    ];
    for (const name of kept.grads.names) {
      expect(relativeError(await again.grads.read(name), await kept.grads.read(name)), name).toBeLessThan(1e-6);
    }
    for (const name of kept.weights.names) {
      expect(relativeError(await again.weights.read(name), await kept.weights.read(name)), name).toBeLessThan(2e-6);
    }
    kept.destroy();
    again.destroy();
    model.destroy();
  });

  it("takes at most 40% of the memory on GPT-2's shape", () => {
    const spec = specFromConfig({ ...SHAPES.gpt2 }, "gpt2");
    const captures = spec.layers.map((_, layer) => ({ name: `blocks.${layer}.hook_resid_pre`, ofGradient: true }));
    const hooks = { edits: [], callbacks: [], captures } as unknown as PassHooks;
    for (const [weights, part] of [
      ["", 0.4], // seen: 0.365
      ["all", 0.25], // seen: 0.196
    ] as const) {
      const bytes = [false, true].map((recompute) => {
        const gradients = { weights, wantsWeight: () => weights === "all", recompute };
        return peakBytes(new Plans(spec).of({ logits: "all", narrow: true }, hooks, gradients));
      }) as [number, number];
      expect(bytes[1] / bytes[0]).toBeLessThan(part);
    }
  });
});
