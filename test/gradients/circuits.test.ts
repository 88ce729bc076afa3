/** Edge attribution, circuits and their faithfulness. */
import { afterEach, describe, expect, it } from "vitest";
import { refuseNormedBias } from "../../src/hooks/circuits/outputs.ts";
import {
  CircuitGraph,
  circuit,
  type EdgeAttributionOptions,
  edgeAttribution,
  faithfulness,
  HookedModel,
  headResults,
  metric,
} from "../../src/hooks/index.ts";
import { specFromConfig } from "../../src/model/families/index.ts";
import { loadParts } from "../../src/model/load.ts";
import { Model } from "../../src/model/model.ts";
import { changeTensors, entryOf, fixtureFiles, loadFixture, sourceOf, valuesOf } from "../support/fixtures.ts";
import { testGpu } from "../support/gpu.ts";
import { byDay } from "../support/nightly.ts";
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
  const files = await fixtureFiles(family);
  // Granite's embedding is so large, beside what blocks add, that float32 would not resolve the scores.
  if (family === "granite") Object.assign(files.config, { embedding_multiplier: 0.2, logits_scaling: 1 });
  const near = changeTensors(files, (tensor) => {
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
const nodeScoresOf = (graph: CircuitGraph) => [...graph.nodes.values()].flatMap(({ score }) => score ?? []);
const largest = (values: readonly number[]) => Math.max(...values.map(Math.abs));
const furthest = (a: readonly number[], b: readonly number[]) =>
  largest(a.map((value, at) => value - (b[at] as number)));

describe("edge attribution", () => {
  // Plain; grouped and gated; parallel with two norms; parallel with one; a residual multiplier; q/k norms; norms before and after; after.
  it.each(["gpt2", "llama", "gpt_neox", "gptj", "granite", "qwen3", "gemma2", "olmo2"])(
    "of %s is exact edge patching to first order",
    async (family) => {
      const model = await withNeighbours(family);
      const options = { clean: CLEAN, corrupted: CORRUPTED, metric: DIFF };
      const exact = await edgeAttribution(model, { ...options, method: "exact" });
      const eap = await edgeAttribution(model, { ...options, method: "eap" });
      // Seen: 2.5e-3 at the most, of a step of 1 %. A node's edges all change at once: 1.3e-2 at the most.
      expect(furthest(scoresOf(exact), scoresOf(eap)) / largest(scoresOf(exact))).toBeLessThan(0.01);
      expect(furthest(nodeScoresOf(exact), nodeScoresOf(eap)) / largest(nodeScoresOf(exact))).toBeLessThan(0.02);
    },
  );

  it.each(["llama", "granite", "gemma2", "olmo2"])(
    "of %s adds up, over what reads a node, to the gradient at what it adds",
    async (family) => {
      const model = await fixture(family);
      const graph = await edgeAttribution(model, { clean: CLEAN, corrupted: CORRUPTED, metric: DIFF, method: "eap" });
      const points = ["blocks.0.hook_resid_pre", "blocks.0.hook_attn_out", "blocks.0.hook_mlp_out"] as const;
      using run = await model.backward(CLEAN, { metric: DIFF, at: [...points] });
      const [ofInput, ofHeads, ofMlp] = await Promise.all(points.map((point) => run.grads.read(point)));
      const [clean, corrupted] = await Promise.all([CLEAN, CORRUPTED].map((ids) => partsOf(model, ids)));
      const expected = [...(clean as Map<string, Float32Array>)].map(([name, part]) => {
        const gradient = name === "input" ? ofInput : name === "m0" ? ofMlp : ofHeads;
        const other = corrupted?.get(name) as Float32Array;
        return part.reduce((sum, value, at) => sum + (gradient?.[at] as number) * ((other[at] as number) - value), 0);
      });
      const sums = [...(clean as Map<string, Float32Array>).keys()].map(
        (name) => graph.nodes.get(name)?.score as number,
      );
      expect(sums.length).toBe(2 + model.spec.nHeads);
      expect(furthest(sums, expected) / largest(sums)).toBeLessThan(1e-5);
    },
  );

  /** What embeddings, heads and MLP of the first block add, by the readouts. */
  async function partsOf(model: HookedModel, ids: number[]): Promise<Map<string, Float32Array>> {
    using run = await model.forward(ids, { capture: ["blocks.0.hook_resid_pre", "blocks.0.hook_mlp_out"] });
    using heads = await headResults(model, [ids], { layer: 1 });
    const all = await heads.read();
    const size = all.length / heads.labels.length;
    return new Map([
      ["input", await run.cache.read("blocks.0.hook_resid_pre")],
      ...Array.from({ length: model.spec.nHeads }, (_, head): [string, Float32Array] => [
        `a0.h${head}`,
        all.subarray(head * size, (head + 1) * size),
      ]),
      ["m0", await run.cache.read("blocks.0.hook_mlp_out")],
    ]);
  }

  it("scores a node exactly by what its whole output changes, however far", async () => {
    const model = await fixture("llama");
    const pair = { clean: CLEAN, corrupted: CORRUPTED };
    const { nodes } = await edgeAttribution(model, { ...pair, metric: DIFF, method: "exact" });
    using corrupted = await model.forward(CORRUPTED, {
      capture: ["*.hook_mlp_out", "*.hook_z", "blocks.0.hook_resid_pre"],
    });
    using plain = await model.forward(CLEAN, { logits: "last" });
    const difference = async (logits: { at(batch: number, position: number): Promise<Float32Array> }) => {
      const last = await logits.at(0, -1);
      return (last[3] as number) - (last[40] as number);
    };
    const before = await difference(plain.logits);
    for (const [node, at, heads] of [
      ["input", "blocks.0.hook_resid_pre", undefined],
      ["a1.h2", "blocks.1.attn.hook_z", [2]],
      ["m0", "blocks.0.hook_mlp_out", undefined],
    ] as const) {
      const edit = { at, op: "set", value: corrupted.cache.at(at), ...(heads && { heads }) } as const;
      using patched = await model.forward(CLEAN, { logits: "last", edits: edit });
      const gain = (await difference(patched.logits)) - before;
      expect(Math.abs(gain)).toBeGreaterThan(1e-4);
      expect(nodes.get(node)?.score, node).toBeCloseTo(gain, 4);
    }
    expect(nodes.get("logits")?.score).toBeUndefined();
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
    // Seen: 0.55, 0.13 and 0.13 of the largest score.
    expect(inputs).toBeLessThan(eap / 2);
    expect(activations).toBeLessThan(eap / 2);
  });

  it("is a mean over sequences of several lengths, each with its metric", async () => {
    const model = await fixture("gpt2");
    const [first, second] = [
      { clean: CLEAN, corrupted: CORRUPTED, metric: DIFF },
      { clean: CLEAN.slice(0, 3), corrupted: CORRUPTED.slice(0, 3), metric: metric.logProb(9) },
    ];
    const both = {
      clean: [first.clean, second.clean],
      corrupted: [first.corrupted, second.corrupted],
      metric: [first.metric, second.metric],
    };
    for (const method of ["eap", "exact"] as const) {
      const [a, b, mean] = await Promise.all(
        [first, second, both].map(async (options) => scoresOf(await edgeAttribution(model, { ...options, method }))),
      );
      const expected = (a as number[]).map((score, at) => (score + (b?.[at] as number)) / 2);
      expect(furthest(mean as number[], expected)).toBeLessThan(1e-5 * Math.max(1, largest(expected)));
    }
  });

  it("refuses what has no exact edges, prompts that do not fit and idle options", async () => {
    const options = { clean: CLEAN, corrupted: CORRUPTED, metric: DIFF };
    const model = await fixture("gpt2");
    const refused = (more: Partial<EdgeAttributionOptions>) => edgeAttribution(model, { ...options, ...more });
    await expect(refused({ corrupted: [1, 2] })).rejects.toMatchObject({ code: "hook/patch-length" });
    await expect(refused({ corrupted: [CORRUPTED, CORRUPTED] })).rejects.toMatchObject({ code: "hook/patch-length" });
    await expect(refused({ metric: [DIFF, DIFF] })).rejects.toMatchObject({ code: "hook/metric" });
    await expect(refused({ metric: metric.rank(3) })).rejects.toMatchObject({ code: "hook/metric" });
    await expect(refused({ method: "eap", steps: 3 })).rejects.toMatchObject({ code: "input/idle-option" });
    await expect(refused({ metricPosition: 9 })).rejects.toMatchObject({ code: "input/position-range" });
    const scoped = model.withEdits({ at: "blocks.0.hook_attn_out", op: "zero" }, (edited) =>
      edgeAttribution(edited, options),
    );
    await expect(scoped).rejects.toMatchObject({ code: "hook/unsupported" });
    const none = circuit(CircuitGraph.of(model.spec), 0);
    await expect(refused({ corrupted: CLEAN })).rejects.toMatchObject({ code: "hook/same-prompts" });
    const second = { clean: [CLEAN, CLEAN], corrupted: [CORRUPTED, CLEAN] };
    await expect(refused(second)).rejects.toMatchObject({
      code: "hook/same-prompts",
      message: expect.stringContaining("clean prompt 1 and the corrupted one"),
    });
    const projected = metric.project("blocks.0.hook_resid_pre", new Float32Array(model.spec.dModel).fill(1));
    await expect(refused({ metric: projected, method: "exact" })).rejects.toMatchObject({ code: "hook/metric" });
    // Measured before the prompts differ.
    const same = faithfulness(model, none, { ...options, metricPosition: 0 });
    await expect(same).rejects.toMatchObject({ code: "hook/same-metric" });
    model.destroy();
    const { config } = await fixtureFiles("gemma2");
    expect(() => refuseNormedBias(specFromConfig({ ...config, attention_bias: true }, "gemma2"))).toThrow(
      expect.objectContaining({ code: "hook/unsupported", message: expect.stringContaining("b_O") }),
    );
    const other = await fixture("gemma2");
    await expect(faithfulness(other, none, options)).rejects.toMatchObject({ code: "hook/other-model" });
  });
});

describe("faithfulness", () => {
  const options = { clean: [CLEAN, CLEAN.slice(1)], corrupted: [CORRUPTED, CORRUPTED.slice(1)], metric: DIFF };

  it.each(["gpt2", "llama", "gptj", "gemma2", "olmo2"])("of the whole of %s is 1, of nothing 0", async (family) => {
    const model = await fixture(family);
    const graph = CircuitGraph.of(model.spec);
    const whole = await faithfulness(model, circuit(graph, graph.edges.size), options);
    expect(whole.faithfulness).toBeCloseTo(1, 4);
    expect(
      [...whole.circuit].map((value, at) => value - (whole.clean[at] as number)).every((x) => Math.abs(x) < 1e-5),
    ).toBe(true);
    const empty = await faithfulness(model, circuit(graph, 0), options);
    expect(empty.faithfulness).toBeCloseTo(0, 4);
  });

  const LESS: [string, string[]][] = [
    ["llama", ["input->a0.h1<q>", "input->a1.h0<k>", "a0.h2->m1", "a0.h1->logits"]],
    ["gptj", ["m0->a1.h1<v>", "m0->m1"]],
    ["gemma2", ["a0.h1->a1.h0<q>", "a0.h2->m0", "m0->m1", "a1.h3->logits"]],
    ["olmo2", ["a0.h1->a1.h1<q>", "a0.h3->m1", "m1->logits"]],
  ];
  it.each(byDay(LESS, ([family]) => family === "gptj" || family === "gemma2"))(
    "of %s less one edge loses that edge's exact score",
    async (family, left) => {
      const model = await fixture(family);
      const graph = await edgeAttribution(model, { ...options, method: "exact" });
      for (const name of left) {
        const kept = new Set(graph.edges.keys());
        expect(kept.delete(name), name).toBe(true);
        const { circuit, clean } = await faithfulness(
          model,
          graph.withCircuit(new Set(graph.nodes.keys()), kept),
          options,
        );
        const gain = circuit.reduce((sum, value, at) => sum + (value - (clean[at] as number)) / circuit.length, 0);
        expect(gain, name).toBeCloseTo(graph.edges.get(name)?.score as number, 5);
      }
    },
  );
});
