/** Edge attribution, circuits and their faithfulness. */
import { afterEach, describe, expect, it } from "vitest";
import {
  type CircuitGraph,
  circuit,
  type EdgeAttributionOptions,
  edgeAttribution,
  faithfulness,
  HookedModel,
  metric,
} from "../../src/hooks/index.ts";
import { loadParts } from "../../src/model/load.ts";
import { Model } from "../../src/model/model.ts";
import { changeTensors, entryOf, fixtureFiles, loadFixture, sourceOf, valuesOf } from "../support/fixtures.ts";
import { testGpu } from "../support/gpu.ts";
import { seeded } from "../support/numbers.ts";

const DIFF = metric.logitDiff(3, 40);
const CLEAN = [5, 6, 7, 20, 21];
const CORRUPTED = [5, 30, 7, 20, 21];

let model: HookedModel | undefined;
afterEach(() => {
  model?.destroy();
  model = undefined;
});

async function fixture(family: string): Promise<HookedModel> {
  model = new HookedModel(await loadFixture(family));
  return model;
}

/** A fixture in which token 30 is token 6 but for a small step, so that scores are linear in the difference. */
async function withNeighbours(family: string): Promise<HookedModel> {
  const random = seeded(4);
  const near = changeTensors(await fixtureFiles(family), (tensor) => {
    if (!/(wte|embed_tokens|embed_in|word_embeddings)\.weight$/.test(tensor.name)) return tensor;
    const values = valuesOf(tensor);
    const width = tensor.shape[1] as number;
    for (let d = 0; d < width; d++)
      values[30 * width + d] = (values[6 * width + d] as number) * (1 + 0.02 * (random() - 0.5));
    return entryOf(tensor.name, tensor.shape, values);
  });
  model = new HookedModel(new Model(await loadParts(sourceOf(near), { gpu: await testGpu() })));
  return model;
}

const scoresOf = (graph: CircuitGraph) => [...graph.edges.values()].map(({ score }) => score);
const largest = (values: readonly number[]) => Math.max(...values.map(Math.abs));
const furthest = (a: readonly number[], b: readonly number[]) =>
  largest(a.map((value, at) => value - (b[at] as number)));

describe("edge attribution", () => {
  // Plain, grouped and gated, parallel with two norms, parallel with one, residual multiplier, q/k norms.
  it.each(["gpt2", "llama", "gpt_neox", "gptj", "granite", "qwen3"])(
    "of %s is exact edge patching to first order",
    async (family) => {
      const model = await withNeighbours(family);
      const options = {
        clean: [CLEAN, CLEAN.slice(0, 3)],
        corrupted: [CORRUPTED, CORRUPTED.slice(0, 3)],
        metric: DIFF,
      };
      const exact = scoresOf(await edgeAttribution(model, { ...options, method: "exact" }));
      const error = (scores: readonly number[]) => furthest(exact, scores) / largest(exact);
      const eap = error(scoresOf(await edgeAttribution(model, { ...options, method: "eap" })));
      console.log(family, exact.length, largest(exact), eap);
      expect(eap).toBeLessThan(0.02);
    },
  );

  it("adds up, over what reads a node, to the gradient at what it adds", async () => {
    const model = await fixture("llama");
    const graph = await edgeAttribution(model, { clean: CLEAN, corrupted: CORRUPTED, metric: DIFF, method: "eap" });
    const points = ["blocks.0.hook_resid_pre", "blocks.0.attn.hook_result", "blocks.0.hook_mlp_out"];
    using run = await model.backward(CLEAN, { metric: DIFF, at: points });
    using other = await model.forward(CORRUPTED, { capture: points });
    const { nHeads, dModel } = model.spec;
    const expected = new Map<string, number>();
    for (const point of points) {
      const [clean, corrupted] = [await run.cache.read(point), await other.cache.read(point)];
      const grads = await run.grads.read(point);
      for (const [at, grad] of grads.entries()) {
        const head = Math.floor(at / dModel) % nHeads;
        const name = point.endsWith("pre") ? "input" : point.endsWith("result") ? `a0.h${head}` : "m0";
        const gain = grad * ((corrupted[at] as number) - (clean[at] as number));
        expected.set(name, (expected.get(name) ?? 0) + gain);
      }
    }
    const sums = [...expected.keys()].map((name) =>
      [...graph.edges.values()].reduce((sum, { source, score }) => sum + (source === name ? score : 0), 0),
    );
    console.log(sums, [...expected.values()]);
    expect(furthest(sums, [...expected.values()]) / largest(sums)).toBeLessThan(1e-5);
  });

  it("comes closer to exact patching along a path", async () => {
    const model = await fixture("gpt2");
    const options = { clean: CLEAN, corrupted: CORRUPTED, metric: metric.logProb(3) };
    const exact = scoresOf(await edgeAttribution(model, { ...options, method: "exact" }));
    const error = async (more: Partial<EdgeAttributionOptions>) =>
      furthest(exact, scoresOf(await edgeAttribution(model, { ...options, ...more }))) / largest(exact);
    const eap = await error({ method: "eap" });
    const inputs = await error({ method: "eap-ig-inputs" });
    const activations = await error({ method: "eap-ig-activations", steps: 3 });
    console.log({ eap, inputs, activations });
  });
});

describe("faithfulness", () => {
  it.each(["gpt2", "llama", "gptj"])(
    "of the whole graph of %s is 1, of none of it 0, and one edge less its exact score",
    async (family) => {
      const model = await fixture(family);
      const options = { clean: [CLEAN, CLEAN.slice(1)], corrupted: [CORRUPTED, CORRUPTED.slice(1)], metric: DIFF };
      const graph = await edgeAttribution(model, { ...options, method: "exact" });
      const whole = await faithfulness(model, circuit(graph, graph.edges.size), options);
      expect(whole.faithfulness).toBe(1);
      const empty = await faithfulness(model, circuit(graph, 0), options);
      console.log(whole, empty);
      expect(empty.faithfulness).toBeCloseTo(0, 5);
      for (const name of ["input->a0.h1<q>", "input->a1.h0<k>", "a0.h2->m1", "m0->a2.h0<v>", "a0.h1->logits"]) {
        const kept = new Set([...graph.edges.keys()].filter((edge) => edge !== name));
        if (kept.size === graph.edges.size) continue;
        const without = await faithfulness(model, graph.withCircuit(new Set(graph.nodes.keys()), kept), options);
        const gain =
          (without.circuit[0] as number) +
          (without.circuit[1] as number) -
          (without.clean[0] as number) -
          (without.clean[1] as number);
        console.log(name, gain / 2, graph.edges.get(name)?.score);
        expect(gain / 2).toBeCloseTo(graph.edges.get(name)?.score as number, 5);
      }
    },
  );
});
