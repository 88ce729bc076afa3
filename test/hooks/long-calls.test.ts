/**
 * Calls that can take more than a second: each ends when it is told to, and those of several passes say how far they are. The
 * table has them all: a call whose options have no signal must be listed below, with the reason.
 */
import { getEventListeners } from "node:events";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { CHECKED_CALLS } from "../../scripts/checked-calls.ts";
import { MemoryStore } from "../../src/checkpoint/store.ts";
import * as api from "../../src/hooks/index.ts";
import { saveModel } from "../../src/train/save.ts";
import { hooked } from "./support.ts";

/** Calls without a signal. */
const QUICK: Readonly<Record<string, string>> = {
  "An edit": "no call",
  "An axis of a plot: `x`, `y`": "no call",
  ...Object.fromEntries(
    ["attentionView", "barChart", "groupedBars", "heatMap", "pointPlot", "ternaryPlot"].map((name) => [
      `\`${name}\``,
      "draws numbers that are there",
    ]),
  ),
  "A receiver of `pathPatch`": "no call",
  "`schedule` of `train`": "no call",
  "`optimizer` of `train`": "no call",
  "`checkpoint` of `train`": "no call",
  "A preset of your own: `trainingPreset`, and FILE.json of `superlens train`": "no call",
  "`size` of a preset": "no call",
  "`compareWithExact`, its third argument": "its second argument has one",
  "`NgramModel`": "counts tokens",
  "`toTokens`, `toStrTokens`": "text",
  "`tokenPosition`": "text",
  "`chat`, `applyChatTemplate`": "text",
  "`createKvCache`": "allocates",
  "`model.withModules`": "makes a view",
  "`circuit`": "chooses edges of a graph that is there",
  "`graph.prune`, of an attribution graph": "chooses nodes and edges that are there",
  "`graph.toCircuitTracer`": "writes down a graph that is there",
  "`repeatedRandomTokens`": "draws tokens",
  "`buildSuperposition`": "writes small matrices",
  "`initialWeights`": "not async: it draws numbers",
  "`defaultModels`": "small models from the package",
  "`trainingBatches`": "a generator, whose user ends it",
  "`evaluationPrompts`": "draws prompts",
  "`planTests`": "plans",
};

it("every call has a signal, or a reason to have none", () => {
  const without = CHECKED_CALLS.filter(({ schema }) => !schema.fields?.signal).map(({ calls }) => calls);
  expect(without.sort()).toEqual(Object.keys(QUICK).sort());
});

let model: api.HookedModel;
beforeAll(async () => {
  model = await hooked("gpt2");
});
afterAll(() => model.destroy());

const CLEAN = [1, 2, 3, 4, 5];
const CORRUPTED = [1, 2, 9, 4, 5];
const METRIC = api.metric.logitDiff(4, 5);
const PATCH = { clean: CLEAN, corrupted: CORRUPTED, metric: METRIC };
const SCALE: api.Edit = { at: "blocks.1.hook_mlp_out", op: "scale", value: 0.5 };

interface Following {
  signal: AbortSignal;
  onProgress?: (progress: { done: number; total: number }) => void;
}

type Call = (options: Following) => Promise<unknown>;

/** Of several passes, on the small model too: cells and layers are many, or memory is little. */
const LONG: Record<string, Call> = {
  compareModels: (o) => api.compareModels(model, model, [CLEAN, CLEAN, CLEAN], o),
  sweep: (o) => model.sweep({ ...o, input: CLEAN, cells: [SCALE, SCALE, SCALE], metric: METRIC, memoryBudget: 1 }),
  activationPatch: (o) => api.activationPatch(model, { ...o, ...PATCH, at: "resid_pre", memoryBudget: 1 }),
  compareWithExact: (o) => api.compareWithExact(model, { ...o, ...PATCH, at: "resid_pre", memoryBudget: 1 }),
  ablate: (o) => api.ablate(model, { ...o, input: CLEAN, kind: "zero", metric: METRIC, memoryBudget: 1 }),
  causalTrace: (o) =>
    api.causalTrace(model, { ...o, prompt: CLEAN, subject: [1, 2], samples: 2, metric: METRIC, memoryBudget: 1 }),
  injectAtLayers: (o) =>
    api.injectAtLayers(model, {
      ...o,
      input: CLEAN,
      vector: new Float32Array(model.spec.dModel).fill(1),
      metric: METRIC,
      memoryBudget: 1,
    }),
  integratedGradients: (o) => api.integratedGradients(model, { ...o, input: CLEAN, metric: METRIC, steps: 120 }),
  edgeAttribution: (o) => api.edgeAttribution(model, { ...o, ...PATCH, steps: 3 }),
  pathPatch: (o) => api.pathPatch(model, { ...o, ...PATCH, memoryBudget: 1 }),
  jacobian: (o) =>
    api.jacobian(model, { ...o, input: CLEAN, from: "blocks.0.hook_resid_pre", to: "blocks.1.hook_resid_pre" }),
  allCompositionScores: (o) => api.allCompositionScores(model, { ...o, mode: "K" }),
  attentionSummary: (o) => api.attentionSummary(model, CLEAN, o),
  headScores: (o) => api.headScores(model, CLEAN, "previous", { ...o, memoryBudget: 1 }),
  inductionScores: (o) => api.inductionScores(model, { ...o, length: 8 }),
  duplicateTokenScores: (o) => api.duplicateTokenScores(model, { ...o, length: 8 }),
  previousTokenScores: (o) => api.previousTokenScores(model, { ...o, length: 8 }),
  beamSearch: (o) => api.beamSearch(model, CLEAN, { ...o, drafts: 2, maxNewTokens: 4, eos: [] }),
  superposedDecode: (o) => api.superposedDecode(model, CLEAN, { ...o, drafts: 2, maxNewTokens: 4, eos: [] }),
  saveModel: (o) => saveModel(model, new MemoryStore(), o),
};

/** Of one pass, or one after the other that share nothing to report. */
const SINGLE: Record<string, Call> = {
  forward: (o) => model.forward(CLEAN, o),
  backward: (o) => model.backward(CLEAN, { ...o, metric: METRIC, at: "hook_embed" }),
  logProbs: (o) => model.logProbs(CLEAN, [[1], [2]], o),
  attributionPatch: (o) => api.attributionPatch(model, { ...o, ...PATCH, at: "resid_pre" }),
  saliency: (o) => api.saliency(model, { ...o, input: CLEAN, metric: METRIC }),
  faithfulness: (o) =>
    api.faithfulness(
      model,
      api.CircuitGraph.of(model.spec).withScores(() => 1),
      { ...o, ...PATCH },
    ),
  headSvd: (o) => api.headSvd(model, { ...o, layer: 0, head: 0, circuit: "OV", topTokens: 2 }),
  headCircuit: (o) => api.headCircuit(model, { ...o, layer: 0, head: 0, circuit: "QK" }),
  lossPerToken: (o) => api.lossPerToken(model, CLEAN, o),
  testPrompt: (o) => api.testPrompt(model, { ...o, prompt: CLEAN, answer: [6] }),
  logitLens: (o) => api.logitLens(model, CLEAN, o),
  directLogitAttribution: (o) => api.directLogitAttribution(model, CLEAN, { ...o, tokens: 4 }),
  accumulatedResid: (o) => api.accumulatedResid(model, CLEAN, o),
  decomposeResid: (o) => api.decomposeResid(model, CLEAN, o),
  headResults: (o) => api.headResults(model, CLEAN, o),
};

/** Of several passes on larger models. */
const ONE_PASS_HERE = ["logitLens", "injectAtLayers", "pathPatch", "jacobian"];

const REASON = new Error("enough");

describe("each", () => {
  it.each([...Object.entries(LONG), ...Object.entries(SINGLE)])("ends when it is told so: %s", async (_, call) => {
    await expect(call({ signal: AbortSignal.abort(REASON) })).rejects.toBe(REASON);
    const controller = new AbortController();
    const running = call({ signal: controller.signal });
    controller.abort(REASON);
    await expect(running).rejects.toBe(REASON);
  });

  const reporting = [...Object.entries(LONG), ...Object.entries(SINGLE).filter(([name]) => name === "logitLens")];
  it.each(reporting)("says how far it is, and ends in between: %s", async (name, call) => {
    const seen: { done: number; total: number }[] = [];
    const { signal } = new AbortController();
    await call({ signal, onProgress: (progress) => seen.push(progress) });
    expect(getEventListeners(signal, "abort"), "a signal may outlive many calls").toEqual([]);
    const { total } = seen[0] as { total: number };
    expect(seen.map(({ done }) => done)).toEqual(seen.map(({ done }) => done).sort((a, b) => a - b));
    expect(new Set(seen.map((each) => each.total))).toEqual(new Set([total]));
    expect(seen.at(-1)?.done).toBe(total);
    if (ONE_PASS_HERE.includes(name)) return;
    expect(seen.length).toBeGreaterThan(1);

    const controller = new AbortController();
    let calls = 0;
    const onProgress = () => {
      calls += 1;
      controller.abort(REASON);
    };
    await expect(call({ signal: controller.signal, onProgress })).rejects.toBe(REASON);
    expect(calls).toBe(1);
  });
});
