/** Mixtures of experts in whole models: points, edits, ablation, decoding, what is read, sweeps and gradients. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { evaluate } from "../../src/graph/evaluate.ts";
import { prune } from "../../src/graph/prune.ts";
import { directLogitAttribution, type Edit, edgeAttribution, type HookedModel, metric } from "../../src/hooks/index.ts";
import { generateSteps } from "../../src/model/generate.ts";
import { trace } from "../../src/model/trace.ts";
import { routed } from "../../src/ops/route-reference.ts";
import { collect } from "../generate/support.ts";
import { fixture, referencePass, rowsOf } from "../graph/support.ts";
import { captured, failureOf, hooked, logitsOf, withForward } from "../hooks/support.ts";
import { relativeError } from "../support/numbers.ts";

const IDS = [5, 17, 40, 3, 90, 61, 22, 8];
const at = (layer: number, name: string) => `blocks.${layer}.mlp.hook_${name}`;

describe("mixtral", () => {
  let model: HookedModel;
  beforeAll(async () => {
    model = await hooked("../types/mixtral");
  });
  afterAll(() => model.destroy());

  it("shows the logits of the router, and the experts and weights that follow from them", async () => {
    const names = ["router_logits", "expert_indices", "expert_weights", "expert_out"].map((name) => at(1, name));
    await withForward(model, IDS, { capture: [...names, "blocks.1.hook_mlp_out"] }, async ({ cache }) => {
      expect(names.map((name) => cache.shape(name))).toEqual([
        [1, IDS.length, 4],
        [1, IDS.length, 2],
        [1, IDS.length, 2],
        [1, IDS.length, 2, 32],
      ]);
      const [logits, indices, weights, out] = (await Promise.all(names.map((name) => cache.read(name)))) as [
        Float32Array,
        Float32Array,
        Float32Array,
        Float32Array,
      ];
      const added = await cache.read("blocks.1.hook_mlp_out");
      const { routing } = model.spec.mlp.experts as NonNullable<typeof model.spec.mlp.experts>;
      for (let row = 0; row < IDS.length; row++) {
        const expected = routed(routing, [...logits.subarray(4 * row, 4 * row + 4)], 2, undefined);
        expect([...indices.subarray(2 * row, 2 * row + 2)]).toEqual(expected.indices);
        expect(relativeError(weights.subarray(2 * row, 2 * row + 2), expected.weights)).toBeLessThan(1e-6);
        const sum = Float32Array.from({ length: 32 }, (_, d) =>
          [0, 1].reduce(
            (all, slot) => all + (weights[2 * row + slot] as number) * (out[(2 * row + slot) * 32 + d] as number),
            0,
          ),
        );
        expect(relativeError(added.subarray(32 * row, 32 * row + 32), sum)).toBeLessThan(1e-5);
      }
    });
  });

  it("sends a token to other experts where the logits of the router are changed", async () => {
    const before = await captured(model, IDS, at(1, "expert_indices"));
    const chosen = before[2 * 3] as number;
    const edits: Edit[] = [{ at: at(1, "router_logits"), op: "set", value: -1e9, dims: [chosen], positions: [3] }];
    const after = await captured(model, IDS, at(1, "expert_indices"), { edits });
    expect([...after.subarray(6, 8)]).not.toContain(chosen);
    expect([...after.subarray(0, 6)]).toEqual([...before.subarray(0, 6)]);
    const [plain, changed] = [await logitsOf(model, IDS), await logitsOf(model, IDS, { edits })];
    const width = model.spec.vocabSize;
    expect([...changed.subarray(0, 3 * width)]).toEqual([...plain.subarray(0, 3 * width)]);
    expect(relativeError(changed.subarray(3 * width), plain.subarray(3 * width))).toBeGreaterThan(1e-3);
  });

  it("counts an expert with the weight that an edit gives it, and one with none not at all", async () => {
    const without: Edit[] = [{ at: at(0, "expert_weights"), op: "zero", dims: [1] }];
    const silent: Edit[] = [{ at: at(0, "expert_out"), op: "zero", heads: [1] }];
    const nothing: Edit[] = [{ at: at(0, "expert_weights"), op: "zero" }];
    const noMlp: Edit[] = [{ at: "blocks.0.hook_mlp_out", op: "zero" }];
    expect(
      relativeError(await logitsOf(model, IDS, { edits: without }), await logitsOf(model, IDS, { edits: silent })),
    ).toBeLessThan(1e-6);
    expect(
      relativeError(await logitsOf(model, IDS, { edits: nothing }), await logitsOf(model, IDS, { edits: noMlp })),
    ).toBeLessThan(1e-6);
  });

  it("reads the matrices of the experts that an edit names", async () => {
    const edits: Edit[] = [{ at: at(2, "expert_indices"), op: "set", value: [3, 3] }];
    const out = await captured(model, IDS, at(2, "expert_out"), { edits });
    for (let row = 0; row < IDS.length; row++)
      expect([...out.subarray(64 * row, 64 * row + 32)]).toEqual([...out.subarray(64 * row + 32, 64 * row + 64)]);
  });

  it("decodes the tokens that whole passes give", async () => {
    const options = { maxNewTokens: 10 };
    const ahead = await collect(generateSteps(model.base, [IDS, [7, 2]], options));
    const passes = await collect(generateSteps(model.base, [IDS, [7, 2]], options, () => undefined));
    expect(ahead.tokens).toEqual(passes.tokens);
    const whole = await model.forward([...IDS, ...(ahead.tokens[0]?.slice(0, -1) ?? [])]);
    const logits = await whole.logits.at(0, -1);
    whole.destroy();
    expect(logits.indexOf(Math.max(...logits))).toBe(ahead.tokens[0]?.at(-1));
  });

  it("reads the chosen experts' weights for a token, and no others", async () => {
    using cache = model.createKvCache();
    (await model.forward(IDS.slice(0, -1), { kv: cache, logits: "none" })).destroy();
    const before = model.gpu.counters.weightBytes;
    (await model.forward(IDS.slice(-1), { kv: cache, logits: "last" })).destroy();
    const { dModel, nLayers, vocabSize, mlp } = model.spec;
    const { dExpert, perToken, count } = mlp.experts as NonNullable<typeof mlp.experts>;
    const attention = dModel * 32 * 2 + dModel * 16 * 2;
    const block = attention + count * dModel + perToken * 3 * dModel * dExpert;
    expect(model.gpu.counters.weightBytes - before).toBe(4 * (nLayers * block + (vocabSize + 1) * dModel));
  });

  it("sweeps over experts: each taken from one token, as one pass a cell does it", async () => {
    const cells = [0, 1, 2, 3].map((expert): Edit[] => [
      { at: at(1, "router_logits"), op: "set", value: -1e9, dims: [expert], positions: [2] },
    ]);
    const { values } = await model.sweep({ input: IDS, cells, metric: metric.logitDiff(5, 7) });
    const expected = [];
    for (const edits of cells) {
      const logits = (await logitsOf(model, IDS, { edits })).slice(-96);
      expected.push((logits[5] as number) - (logits[7] as number));
    }
    expect(relativeError(values, expected)).toBeLessThan(1e-5);
    expect(new Set(values).size).toBeGreaterThan(1);
  });
});

/** A number of a tensor, and where it lies in a weight. */
interface Probe {
  readonly tensor: string;
  readonly weight: string;
  readonly inTensor: number;
  readonly inWeight: number;
}

/** For each type entries of the router and of experts, as the checkpoint has them and as the graph does. */
const PROBES: Record<string, readonly Probe[]> = {
  "../types/mixtral": [
    { tensor: "model.layers.1.block_sparse_moe.gate.weight", weight: "W_router", inTensor: 37, inWeight: 37 },
    {
      tensor: "model.layers.1.block_sparse_moe.experts.2.w1.weight",
      weight: "W_experts_gate",
      inTensor: 70,
      inWeight: 2 * 768 + 70,
    },
    {
      tensor: "model.layers.1.block_sparse_moe.experts.0.w2.weight",
      weight: "W_experts_out",
      inTensor: 5,
      inWeight: 5,
    },
  ],
  // [expert, in, (gate, up) by turns]: gate 3 of input 2 of expert 1, and its bias.
  "../types/gpt_oss": [
    {
      tensor: "model.layers.1.mlp.experts.gate_up_proj",
      weight: "W_experts_gate",
      inTensor: 1024 + 2 * 32 + 6,
      inWeight: 512 + 3 * 32 + 2,
    },
    {
      tensor: "model.layers.1.mlp.experts.gate_up_proj",
      weight: "W_experts_in",
      inTensor: 1024 + 2 * 32 + 7,
      inWeight: 512 + 3 * 32 + 2,
    },
    {
      tensor: "model.layers.1.mlp.experts.gate_up_proj_bias",
      weight: "b_experts_in",
      inTensor: 32 + 7,
      inWeight: 16 + 3,
    },
    { tensor: "model.layers.1.mlp.router.bias", weight: "b_router", inTensor: 2, inWeight: 2 },
  ],
  "../types/phimoe": [
    { tensor: "model.layers.1.block_sparse_moe.gate.weight", weight: "W_router", inTensor: 40, inWeight: 40 },
  ],
  "../types/ernie4_5_moe": [
    { tensor: "model.layers.1.mlp.gate.weight", weight: "W_router", inTensor: 40, inWeight: 40 },
    { tensor: "model.layers.1.mlp.shared_experts.up_proj.weight", weight: "W_shared_in", inTensor: 33, inWeight: 33 },
  ],
};

describe.each(Object.entries(PROBES))("gradients of %s", (name, probes) => {
  it("are what finite differences of the references give", async () => {
    const { spec, weight } = await fixture(name);
    const graph = prune(trace(spec));
    const loss = () => {
      const values = evaluate(graph, { rows: rowsOf([IDS]), weight, pass: referencePass(spec, 64) });
      const logits = (values.get(graph.output as never) as Float64Array).slice(-spec.vocabSize);
      return (logits[5] as number) - (logits[7] as number);
    };
    using model = await hooked(name);
    const { weights, destroy } = await model.backward(IDS, { metric: metric.logitDiff(5, 7), weights: "*" });
    for (const { tensor, weight: ref, inTensor, inWeight } of probes) {
      const numbers = weight({ name: ref, block: 1 }) as Float64Array;
      const value = numbers[inWeight] as number;
      const slopeBy = (step: number) => {
        numbers[inWeight] = value + step;
        const above = loss();
        numbers[inWeight] = value - step;
        const below = loss();
        numbers[inWeight] = value;
        return (above - below) / (2 * step);
      };
      const slope = slopeBy(1e-6);
      const own = (await weights.read(tensor))[inTensor] as number;
      expect(Math.abs(own - slope), `${tensor}: ${own}, ${slope}`).toBeLessThan(1e-3 * Math.abs(slope) + 1e-6);
    }
    destroy();
  });
});

describe("what a model with experts cannot", () => {
  it.each<[string, (model: HookedModel) => Promise<unknown>, string]>([
    ["neurons", (model) => directLogitAttribution(model, IDS, { tokens: 5, by: "neuron" }), "belong to experts"],
    [
      "edges",
      (model) =>
        edgeAttribution(model, { clean: IDS, corrupted: IDS.toReversed(), metric: metric.logit(5), method: "eap" }),
      "reads goes to a router",
    ],
    ["processed weights", (model) => model.processed(), "experts are not processed"],
  ])("%s, says so", async (_, call, message) => {
    using model = await hooked("../types/mixtral");
    expect(await failureOf(() => call(model))).toContain(message);
  });
});
