/** What a backward pass cannot do it refuses with what to do instead, and leaves no memory behind; nor does what it can do. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { HookedModel as Hooked } from "../../src/hooks/hooked-model.ts";
import {
  type BackwardOptions,
  CircuitGraph,
  circuit,
  edgeAttribution,
  type HookedModel,
  metric,
  type WgslMetric,
} from "../../src/hooks/index.ts";
import type { ModelInput } from "../../src/model/input.ts";
import { loadParts } from "../../src/model/load.ts";
import { Model } from "../../src/model/model.ts";
import { failureOf, hooked, logitsOf } from "../hooks/support.ts";
import { changeTensors, fixtureFiles, sourceOf, valuesOf } from "../support/fixtures.ts";
import { gpuWithLimits, ownGpu } from "../support/gpu.ts";
import { isNight } from "../support/nightly.ts";

const IDS = [3, 14, 15, 92, 65];
const METRIC = metric.logitDiff(5, 7);

let gpu: Gpu;
let model: HookedModel;
beforeAll(async () => {
  gpu = await ownGpu();
  model = await hooked("gpt2", { gpu });
  // What the device keeps for all passes is there from the first one on.
  (await model.backward(IDS, { metric: METRIC, at: "*hook_z" })).destroy();
});
afterAll(() => {
  model.destroy();
  gpu.trim();
});

/** Buffers and bytes in use, those kept for reuse left out. */
function memory() {
  gpu.trim();
  return { ...gpu.memory };
}

const zeros = (values: Float32Array) => values.every((value) => value === 0);
const long = Array.from({ length: 5 }, () => 1);

/** A metric of expressions; of a probability mass, which is 1 and has gradient 0, if nothing else is given. */
const own = (expressions: Partial<WgslMetric>): BackwardOptions => ({
  metric: metric.wgsl({ term: "p", gradient: "0", ...expressions }),
  at: "*hook_z",
});

const REFUSED: Record<string, [options: BackwardOptions, error: RegExp, input?: ModelInput]> = {
  "nothing wanted": [{ metric: METRIC }, /input\/idle-option.*at or weights/],
  "the loss of embeddings": [
    { metric: metric.loss(), at: "hook_embed" },
    /hook\/metric.*embeddings have none/,
    { inputsEmbeds: [new Float32Array(64)] },
  ],
  "no point": [{ metric: METRIC, at: [] }, /input\/idle-option.*at or weights/],
  "an unknown point": [{ metric: METRIC, at: "blocks.0.hook_residual" }, /hook\/no-such-point.*blocks\.0/],
  "no tensor": [{ metric: METRIC, weights: [] }, /input\/idle-option.*at or weights/],
  "an unknown tensor": [
    { metric: METRIC, at: "*hook_z", weights: "wte.wight" },
    /input\/no-weight.*Nearest: .*wte\.weight/,
  ],
  "positions without points": [{ metric: METRIC, weights: "*", positions: [1] }, /input\/idle-option/],
  "a rank": [{ metric: metric.rank(3), at: "*hook_z" }, /hook\/metric.*logProb/],
  "several logits": [{ metric: metric.logits([1, 2]), at: "*hook_z" }, /hook\/metric.*metric\.logit/],
  "KL without a reference": [{ metric: metric.kl(), at: "*hook_z" }, /hook\/metric.*metric\.kl\(logits\)/],
  "factors of another vocabulary": [{ metric: metric.weighted([1, 2]), at: "*hook_z" }, /hook\/metric.*96/],
  "an expression that is two": [own({ term: "p; return p", gradient: "p" }), /hook\/expression.*term.*single/],
  "an expression that is none": [own({ gradient: undefined } as never), /hook\/expression.*gradient/],
  "a term of the finished sum": [own({ term: "p * value" }), /hook\/expression.*for gradient alone/],
  "an expression of weights that are not there": [own({ term: "p * w" }), /hook\/no-value.*needs weights/],
  "weights that no expression reads": [own({ weights: new Float32Array(96) }), /hook\/no-value.*do not read w/],
  "weights of another vocabulary": [own({ term: "p * w", weights: [1, 2] }), /hook\/metric.*weights.*96/],
  "a misspelt expression": [own({ gradeint: "0" } as never), /input\/unknown-key.*gradient/],
  "expressions in another metric": [
    { metric: { ...METRIC, term: "p" }, at: "*hook_z" },
    /input\/idle-option.*term.*logitDiff/,
  ],
  "an expression of unknown names": [own({ gradient: "p * logQ" }), /gpu\/shader[\s\S]*logQ[\s\S]*read logit, p, logP/],
  "an expression of another type": [own({ gradient: "token" }), /gpu\/shader[\s\S]*return token[\s\S]*is an f32/],
  "a value that is not a number": [
    own({ term: "exp(logit + 1000)" }),
    /hook\/metric-value.*\+ 1000\) sums to Infinity.*select/,
  ],
  "a gradient that is not a number": [
    own({ gradient: "exp(logit + 1000)" }),
    /hook\/metric-value.*for 96 tokens.*select/,
  ],
  "the gradient of something else": [
    own({ term: "-p * logP", gradient: "-p * logP" }),
    /hook\/metric-gradient.*is not that of.*metric\.weighted/,
  ],
  "metrics of another batch": [{ metric: [METRIC, METRIC], at: "*hook_z" }, /hook\/metric.*2 metrics for 1/],
  "no metric": [{ metric: [], at: "*hook_z" }, /hook\/metric/],
  "a token out of range": [{ metric: metric.logit(96), at: "*hook_z" }, /hook\/metric.*0 to 95/],
  "the loss of one token": [{ metric: metric.loss(), at: "*hook_z" }, /hook\/metric.*two tokens/, [[4]]],
  "a loss that counts nothing": [{ metric: metric.loss([[false]]), at: "*hook_z" }, /hook\/metric/],
  "a loss of the last position": [
    { metric: metric.loss([[true, true, true, true, true]]), at: "*hook_z" },
    /hook\/metric.*last position of sequence 0, which no token follows.*leave it out/,
  ],
  "TransformerLens's name of a weight": [
    { metric: METRIC, weights: "blocks.1.attn.W_K" },
    /input\/no-weight.*TransformerLens's name.*: take (transformer\.)?h\.1\.attn\.c_attn\.weight\./,
  ],
  "BOS before embeddings": [
    { metric: METRIC, at: "*hook_z", addBos: true },
    /^InputError input\/idle-option: addBos does nothing before embeddings/,
    { inputsEmbeds: [new Float32Array(64)] },
  ],
  "a position beside the loss": [{ metric: metric.loss(), position: 2, at: "*hook_z" }, /input\/idle-option/],
  "a metric at a position that is not there": [{ metric: METRIC, position: 5, at: "*hook_z" }, /hook\/position-range/],
  "of one of a batch": [
    { metric: METRIC, position: -4, at: "*hook_z" },
    /hook\/position-range.*entry 1/,
    [IDS, [1, 2]],
  ],
  "kept positions that are not there": [{ metric: METRIC, positions: [7], at: "*hook_z" }, /hook\/position-range/],
  "an expression": [
    { metric: METRIC, at: "*hook_z", edits: { at: "blocks.0.hook_mlp_out", op: "wgsl", expression: "x * 2" } },
    /hook\/no-gradient.*scale/,
  ],
  "an edit of a position that is not there": [
    { metric: METRIC, at: "*hook_z", edits: { at: "blocks.0.hook_mlp_out", op: "zero", positions: [9] } },
    /hook\/position-range/,
  ],
  "an id out of range": [{ metric: METRIC, at: "*", weights: "*" }, /input\/token-range/, [[1, 96]]],
  "an empty sequence": [{ metric: METRIC, at: "*" }, /input\/empty/, [[]]],
};

describe("refused, with nothing left behind", () => {
  it.each(Object.entries(REFUSED))("%s", async (_, [options, error, input = IDS]) => {
    const before = memory();
    expect(await failureOf(() => model.backward(input, options))).toMatch(error);
    expect(memory()).toEqual(before);
  });

  it("more rows than an adapter binds", async () => {
    using small = await hooked("gpt2", { gpu: await gpuWithLimits({ maxStorageBufferBindingSize: 4 * 96 * 8 }) });
    const call = () => small.backward([1, 2, 3, 4, 5, 6, 7, 8, 9], { metric: metric.loss(), at: "*hook_z" });
    expect(await failureOf(call)).toMatch(/input\/backward-rows.*9 tokens/);
  });

  it("more memory than there is", async () => {
    const own = await gpuWithLimits({ maxBufferSize: 40_000 });
    using small = await hooked("gpt2", { gpu: own });
    const sequences = Array.from({ length: 40 }, () => long);
    const before = { ...own.memory };
    for (const options of [{ at: "logits" }, { at: "*hook_resid_pre", weights: "*" }]) {
      expect(await failureOf(() => small.backward(sequences, { metric: METRIC, ...options }))).toMatch(
        /gpu\/out-of-memory/,
      );
      own.trim();
      expect({ ...own.memory }).toEqual(before);
    }
  });
});

describe("ends", () => {
  it("before it begins, and while it runs, with the signal's reason", async () => {
    const before = memory();
    const options = { metric: METRIC, at: "*", weights: "*" };
    const reason = new RangeError("enough");
    await expect(model.backward(IDS, { ...options, signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    for (const turns of [0, 1, 3]) {
      const stop = new AbortController();
      const call = model.backward([IDS, IDS], { ...options, signal: stop.signal });
      const ended = expect(call).rejects.toBe(reason);
      for (let turn = 0; turn < turns; turn++) await Promise.resolve();
      stop.abort(reason);
      await ended;
    }
    await gpu.idle();
    expect(memory()).toEqual(before);
  });

  it("with the model, and its results with themselves", async () => {
    using own = await hooked("gpt2", { gpu });
    (await own.backward(IDS, { metric: METRIC, at: "*hook_z" })).destroy();
    const before = memory();
    const result = await own.backward(IDS, { metric: METRIC, at: "*hook_z", weights: "*wte.weight" });
    const [point] = result.grads.names as [string];
    const [name] = result.weights.names as [string];
    result.destroy();
    result.destroy();
    expect(memory()).toEqual(before);
    expect(await failureOf(() => result.grads.read(point))).toMatch(/hook\/cache-destroyed/);
    expect(await failureOf(() => result.weights.read(name))).toMatch(/input\/gradients-destroyed/);
    expect(await failureOf(() => result.weights.shape(name))).toMatch(/input\/gradients-destroyed/);
    const late = own.backward(IDS, { metric: METRIC, at: "*", weights: "*" });
    own.destroy();
    expect(await failureOf(() => late)).toMatch(/input\/model-destroyed/);
    expect(await failureOf(() => own.backward(IDS, { metric: METRIC, at: "*" }))).toMatch(/input\/model-destroyed/);
  });

  it("KL against the edits of a scope, which are in both runs", async () => {
    const call = model.withEdits({ at: "blocks.0.hook_mlp_out", op: "zero" }, (edited) =>
      edited.backward(IDS, { metric: metric.kl(), at: "*hook_z" }),
    );
    expect(await failureOf(() => call)).toMatch(/hook\/metric: .*withEdits\(\) scope are in both runs/);
  });

  it("for an edit whose value was destroyed", async () => {
    const { cache, ...rest } = await model.forward(IDS, { capture: "blocks.0.hook_mlp_out" });
    rest.destroy();
    const edits = { at: "blocks.0.hook_mlp_out", op: "set", value: { cache, name: "blocks.0.hook_mlp_out" } } as const;
    const before = memory();
    expect(await failureOf(() => model.backward(IDS, { metric: METRIC, at: "*", edits }))).toMatch(
      /hook\/cache-destroyed/,
    );
    expect(memory()).toEqual(before);
  });
});

describe("zero", () => {
  it("is the gradient where the metric does not depend on a point", async () => {
    const at = ["hook_embed", "blocks.*.hook_resid_post", "logits", "blocks.1.attn.hook_k"];
    using result = await model.backward([IDS, [1, 2]], { metric: METRIC, position: 1, at, weights: "*" });
    for (const name of at.flatMap((pattern) => model.pointNames(pattern))) {
      // A model that looks back: nothing after position 1 counts.
      expect(zeros(await result.grads.read(name, { batch: [0], positions: [2, 3, 4] })), name).toBe(true);
      expect(zeros(await result.grads.read(name, { batch: [0], positions: [1] })), name).toBe(false);
    }
    using cut = await model.backward(IDS, {
      metric: METRIC,
      at: ["blocks.0.hook_resid_post", "blocks.1.hook_resid_post"],
      weights: ["*h.0.*", "*h.1.mlp.c_proj.weight"],
      edits: { at: "blocks.1.hook_resid_post", op: "zero" },
    });
    expect(zeros(await cut.grads.read("blocks.0.hook_resid_post"))).toBe(true);
    expect(zeros(await cut.grads.read("blocks.1.hook_resid_post"))).toBe(false);
    for (const name of cut.weights.names) expect(zeros(await cut.weights.read(name)), name).toBe(true);
    expect(cut.zeros).toEqual(["blocks.0.hook_resid_post", ...cut.weights.names]);
    expect(cut.weights.names.length).toBeGreaterThan(8);
  });

  it.each(["gpt2", "llama"])(
    "is said of the points and weights of %s whose gradient it is in every entry",
    async (family) => {
      using own = await hooked(family, { gpu });
      const at = ["*.hook_resid_pre", "*.hook_pattern", "*.hook_q", "*.hook_v", "logits"];
      // Llama's queries, keys and values lie together in memory; each is a tensor of its own.
      for (const [input, edits, zero] of [
        [[1], [], undefined],
        [IDS, [{ at: "blocks.1.attn.hook_v", op: "zero" }], "blocks.1.attn.hook_pattern"],
        [
          IDS,
          [{ at: "blocks.0.attn.hook_q", op: "zero" }],
          family === "llama" && "model.layers.0.self_attn.k_proj.weight",
        ],
        [IDS, [], undefined],
      ] as const) {
        using result = await own.backward(input, { metric: METRIC, at, edits, weights: "*" });
        const all = [
          ...result.grads.names.map(async (name) => [name, await result.grads.read(name)] as const),
          ...result.weights.names.map(async (name) => [name, await result.weights.read(name)] as const),
        ];
        const expected = (await Promise.all(all)).flatMap(([name, values]) => (zeros(values) ? [name] : []));
        expect(result.zeros).toEqual(expected);
        if (zero) expect(expected).toContain(zero);
      }
    },
  );
});

it("weights that are no numbers are found by the metric, and leave no memory behind; edges are refused by node", async () => {
  const files = changeTensors(await fixtureFiles("gpt2"), (tensor) => {
    if (!tensor.name.endsWith("h.1.mlp.c_fc.weight")) return tensor;
    const values = Float32Array.from(valuesOf(tensor));
    values[3] = Number.NaN;
    return { ...tensor, dtype: "F32", data: new Uint8Array(values.buffer) };
  });
  using broken = new Hooked(new Model(await loadParts(sourceOf(files), { gpu })));
  const options = { metric: METRIC, at: "blocks.0.hook_resid_pre", weights: "*wte.weight" };
  const call = () => failureOf(() => broken.backward([[1], IDS], options));
  expect(await call()).toMatch(/hook\/metric-value: The metric of batch entry 0 is NaN.*runWithCache.*checkFinite/);
  const before = memory();
  await call();
  expect(memory()).toEqual(before);
  const prompts = { clean: [1, 2, 3], corrupted: [1, 4, 3], metric: METRIC };
  for (const method of ["eap", "eap-ig-inputs", "exact"] as const)
    expect(await failureOf(() => edgeAttribution(broken, { ...prompts, method }))).toMatch(
      /hook\/circuit-scores: The output of node m1 is NaN.*runWithCache/,
    );
});

it("edges are not scored or chosen by what says nothing", async () => {
  const prompts = { clean: [1, 2, 3], corrupted: [1, 4, 3] };
  const score = (options: object) => () => edgeAttribution(model, { ...prompts, metric: METRIC, ...options });
  expect(await failureOf(score({ metric: metric.loss() }))).toMatch(/hook\/metric.*one position/);
  expect(await failureOf(score({ metric: metric.kl(), method: "eap" }))).toMatch(/hook\/metric.*eap-ig-inputs/);
  const graph = CircuitGraph.of(model.spec);
  const choose = (scored: CircuitGraph) => () => circuit(scored, 5);
  expect(await failureOf(choose(graph))).toMatch(/hook\/circuit-scores.*all of them are 0/);
  const nowhere = graph.withScores(({ name }) => (name === "m0->logits" ? Number.NaN : 1));
  expect(await failureOf(choose(nowhere))).toMatch(/hook\/circuit-scores.*finite/);
  expect(await failureOf(() => nowhere.toJSON())).toMatch(/hook\/circuit-scores.*m0->logits is NaN.*JSON/);
  expect(await failureOf(() => JSON.stringify(nowhere))).toMatch(/m0->logits is NaN/);
});

/** A leak shows in the first passes after those that warm up. */
const PASSES = isNight ? 500 : 120;

it(`${PASSES} backward passes leave memory where it was`, async () => {
  const turn = async (index: number) => {
    const input = [IDS.slice(0, 2 + (index % 4)), IDS];
    const at = index % 2 ? "*hook_resid_post" : ["*hook_z", "*hook_pattern"];
    using result = await model.backward(input, { metric: METRIC, at, ...(index % 3 === 0 && { weights: "*c_proj*" }) });
    expect(result.value).toHaveLength(2);
  };
  for (let index = 0; index < 24; index++) await turn(index);
  const before = memory();
  for (let index = 0; index < PASSES - 24; index++) await turn(index);
  expect(memory()).toEqual(before);
  expect(await logitsOf(model, IDS)).toHaveLength(5 * 96);
});
