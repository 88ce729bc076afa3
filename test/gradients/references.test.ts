/** The backward pass by the plain references of its ops is PyTorch's autograd, in all families. */
import { describe, expect, it } from "vitest";
import { differentiate } from "../../src/graph/differentiate.ts";
import { FUSION_RULES, fuse, rulesBeforeGradients } from "../../src/graph/fuse.ts";
import { insertHooks } from "../../src/graph/hooks.ts";
import { prune } from "../../src/graph/prune.ts";
import { trace } from "../../src/model/trace.ts";
import type { RowTable } from "../../src/ops/rows.ts";
import { fixture, referencePass, rowsOf } from "../graph/support.ts";
import { FAMILIES, golden } from "../support/fixtures.ts";
import { relativeError } from "../support/numbers.ts";
import { evaluateGradients, goldenGrads, headFirst } from "./support.ts";

/** The gradient of logits[5] - logits[7] at the last position of each sequence. */
function logitDifference(ids: readonly number[][], vocab: number) {
  return (_: Float64Array, rows: RowTable) => {
    const out = new Float64Array(rows.count * vocab);
    for (const [sequence, { length }] of ids.entries()) {
      const row = rows.indexOf(sequence, length - 1);
      out.set([1, 0, -1], row * vocab + 5);
    }
    return out;
  };
}

describe("gradients by references", () => {
  it.each(FAMILIES)("of %s are autograd's", async (family) => {
    const { spec, weight } = await fixture(family);
    const { ids } = await golden(family);
    const expected = await goldenGrads(family);
    const length = ids[0]?.length as number;
    const captures = Array.from({ length: spec.nLayers }, (_, layer) => [
      { name: `blocks.${layer}.hook_resid_pre`, ofGradient: true },
      { name: `blocks.${layer}.attn.hook_pattern`, ofGradient: true },
    ]).flat();
    const pass = { ...referencePass(spec, 64), seed: logitDifference(ids, spec.vocabSize) };
    const graph = insertHooks(trace(spec), { edits: [], callbacks: [], captures });
    for (const backward of [
      differentiate(graph),
      fuse(prune(differentiate(fuse(graph, rulesBeforeGradients(FUSION_RULES))))),
    ]) {
      const grads = evaluateGradients(backward, { rows: rowsOf(ids), weight, pass });
      for (let layer = 0; layer < spec.nLayers; layer++) {
        const residual = grads.get(2 * layer) as Float64Array;
        const pattern = headFirst(grads.get(2 * layer + 1) as Float64Array, ids.length, spec.nHeads, length);
        expect(relativeError(residual, expected.get(`d_hidden.${layer}`) as Float32Array)).toBeLessThan(1e-5);
        expect(relativeError(pattern, expected.get(`d_pattern.${layer}`) as Float32Array)).toBeLessThan(1e-5);
      }
    }
  });
});
