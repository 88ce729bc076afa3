/** Attribution graphs: their edges add up, are what an independent computation gives, and are what interventions do. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { prune } from "../../src/hooks/attribution-graph/influence.ts";
import {
  type AttributionGraph,
  type AttributionNode,
  attributionGraph,
  type Dictionary,
  type HookedModel,
  loadDictionary,
} from "../../src/hooks/index.ts";
import { filesOf, randomArrays, stored } from "./files.ts";
import { hooked } from "./support.ts";

const [WIDTH, FEATURES, LAYERS] = [32, 24, 3];
const IDS = [5, 6, 7, 8, 9, 10];
const HOOKS = { hook: "mlp.hook_in", hookOut: "mlp.hook_out" };

/** circuit-tracer's transcoders of each block. */
function perLayer(seed: number, { skip = false, layers = [0, 1, 2], width = WIDTH } = {}) {
  const files = layers.map((layer) => {
    const shapes = {
      ...{ W_enc: [FEATURES, width], W_dec: [FEATURES, width], b_enc: [FEATURES], b_dec: [width] },
      ...(skip && { W_skip: [width, width] }),
    };
    return [`layer_${layer}.safetensors`, stored(randomArrays(seed + layer, shapes), "F32")] as const;
  });
  return filesOf(Object.fromEntries(files), "transcoders");
}

/** Transcoders whose features write to their own block and all later ones. */
function acrossLayers(seed: number) {
  const files = Array.from({ length: LAYERS }, (_, layer) => {
    const encoder = {
      [`W_enc_${layer}`]: [FEATURES, WIDTH],
      [`b_enc_${layer}`]: [FEATURES],
      [`b_dec_${layer}`]: [WIDTH],
    };
    const decoder = { [`W_dec_${layer}`]: [FEATURES, LAYERS - layer, WIDTH] };
    return [
      [`W_enc_${layer}.safetensors`, stored(randomArrays(seed + layer, encoder), "F32")],
      [`W_dec_${layer}.safetensors`, stored(randomArrays(seed + 9 + layer, decoder), "F32")],
    ] as const;
  });
  return filesOf(Object.fromEntries(files.flat()), "across layers");
}

const amountOf = (node: AttributionNode) =>
  node.kind === "feature" ? node.activation : node.kind === "logit" ? node.logit : 0;
const sumInto = (graph: AttributionGraph, target: number) =>
  graph.into(target).reduce((sum, { weight }) => sum + weight, 0);

/** Every target is the sum of its edges, of biases and of what was left out. */
function expectComplete(graph: AttributionGraph): void {
  let targets = 0;
  graph.nodes.forEach((node, index) => {
    if (node.kind !== "feature" && node.kind !== "logit") return;
    targets++;
    const sizes = graph.into(index).reduce((sum, { weight }) => sum + Math.abs(weight), 0);
    const residual = sumInto(graph, index) + node.bias + node.leftOut - amountOf(node);
    expect(Math.abs(residual) / Math.max(1, sizes)).toBeLessThan(1e-5);
  });
  expect(targets).toBeGreaterThan(20);
}

/** What a logit was before the soft cap, which graphs leave out. */
const beforeSoftCap =
  ({ softCap }: { softCap: number | null }) =>
  (logit: number) =>
    softCap === null ? logit : softCap * Math.atanh(logit / softCap);

const CASES = [
  { name: "gpt2", family: "gpt2", source: () => perLayer(1), hooks: HOOKS },
  {
    name: "gpt2, what hook_mlp_out gets",
    family: "gpt2",
    source: () => perLayer(2),
    hooks: { ...HOOKS, hookOut: "hook_mlp_out" },
  },
  { name: "llama with skip connections", family: "llama", source: () => perLayer(3, { skip: true }), hooks: HOOKS },
  { name: "llama across layers", family: "llama", source: () => acrossLayers(4), hooks: HOOKS },
  { name: "pythia, attention beside the MLP", family: "gpt_neox", source: () => perLayer(5), hooks: HOOKS },
  {
    name: "gemma2, between the norms around the MLP as in Gemma Scope",
    family: "gemma2",
    source: () => perLayer(6),
    hooks: { hook: "ln2.hook_normalized", hookOut: "hook_mlp_out" },
  },
  {
    name: "olmo2, through the norms after attention and MLP",
    family: "olmo2",
    source: () => perLayer(8),
    hooks: HOOKS,
  },
  { name: "bloom, through the norm of the embedding", family: "bloom", source: () => perLayer(9), hooks: HOOKS },
] as const;

describe.each(CASES)("a graph of $name", ({ family, source, hooks }) => {
  let model: HookedModel;
  let transcoders: Dictionary;
  let graph: AttributionGraph;
  beforeAll(async () => {
    model = await hooked(family);
    transcoders = await loadDictionary(model, source(), hooks);
    graph = await attributionGraph(model, transcoders, { input: IDS });
  });
  afterAll(() => {
    transcoders.destroy();
    model.destroy();
  });

  it("is complete: edges and biases are each target", () => expectComplete(graph));

  it("has edges that are what the target loses without the source, all else as it was", async () => {
    using spliced = model.withModules(transcoders);
    const names = spliced.pointNames().filter((name) => /hook_(pattern|scale)$/.test(name));
    const inside = transcoders.modules.flatMap(({ hookIn, hookOut }) => [
      `${hookIn}.hook_sae_acts_post`,
      `${hookOut}.hook_sae_error`,
    ]);
    using whole = await spliced.forward(IDS, { capture: [...names, ...inside] });
    const frozen = [...names, ...inside].map((at) => ({ at, op: "set", value: whole.cache.tensor(at) }) as const);
    const pre = transcoders.modules.map(({ hookIn }) => `${hookIn}.hook_sae_acts_pre`);
    const read = async (extra: readonly object[]) => {
      using run = await spliced.forward(IDS, { edits: [...frozen, ...extra] as never, capture: pre });
      const features = await Promise.all(pre.map((name) => run.cache.read(name)));
      const logits = (await run.logits.at(0, -1)).map(beforeSoftCap(model.spec.unembed));
      const mean = logits.reduce((sum, value) => sum + value, 0) / logits.length;
      return (node: AttributionNode) =>
        node.kind === "feature"
          ? features[node.layer]![node.position * FEATURES + node.feature]!
          : logits[(node as { token: number }).token]! - mean;
    };
    const before = await read([]);
    const sources = ["feature", "error", "token"].flatMap((kind) =>
      graph.nodes
        .flatMap((node, index) => (node.kind === kind ? [index] : []))
        .filter((_, i, all) => i % Math.ceil(all.length / 4) === 1),
    );
    let seen = 0;
    for (const source of sources) {
      const node = graph.nodes[source]!;
      const { hookIn, hookOut } = transcoders.modules["layer" in node ? node.layer : 0]!;
      const at = {
        feature: `${hookIn}.hook_sae_acts_post`,
        error: `${hookOut}.hook_sae_error`,
        token: "hook_embed",
        logit: "",
      }[node.kind];
      const dims = node.kind === "feature" ? { dims: [node.feature] } : {};
      const after = await read([{ at, op: "zero", positions: [node.position], ...dims }]);
      graph.nodes.forEach((target, index) => {
        if (target.kind !== "feature" && target.kind !== "logit") return;
        const weight = graph.into(index).find((edge) => edge.source === source)?.weight ?? 0;
        if (weight !== 0) seen++;
        expect(before(target) - after(target)).toBeCloseTo(weight, 4);
      });
    }
    expect(seen).toBeGreaterThan(20);
  });
});

it("prune keeps what makes up the thresholds, and nothing that leads nowhere", () => {
  const nodes = [
    { kind: "feature", layer: 0, position: 0, feature: 3, activation: 2, bias: 0, leftOut: 0 },
    { kind: "error", layer: 0, position: 0 },
    { kind: "token", position: 0, token: 5 },
    { kind: "logit", position: 0, token: 7, probability: 1, logit: 2, bias: 0, leftOut: 0 },
  ] as const;
  // The feature has 9 parts in 10 of the logit, by size, and all that it has comes from the token.
  const rows = new Map([
    [0, Float32Array.of(0, 0, -4, 0)],
    [3, Float32Array.of(-1.8, 0.2, 0, 0)],
  ]);
  const { nodes: kept, edges, influence } = prune(nodes, rows, { nodeThreshold: 1, edgeThreshold: 0.8 });
  [0.9 / 1.9, 1, 1.8 / 1.9, 1].forEach((share, index) => {
    expect(influence[index]).toBeCloseTo(share, 6);
  });
  expect(edges.map(({ source, target }) => [source, target])).toEqual([
    [2, 0],
    [0, 3],
  ]);
  expect(kept).toEqual([0, 2, 3]);
});

describe("attributionGraph", () => {
  let model: HookedModel;
  let transcoders: Dictionary;
  let graph: AttributionGraph;
  beforeAll(async () => {
    model = await hooked("llama");
    transcoders = await loadDictionary(model, perLayer(7), HOOKS);
    graph = await attributionGraph(model, transcoders, { input: IDS });
  });
  afterAll(() => {
    transcoders.destroy();
    model.destroy();
  });

  it("has the edges that weights, patterns and divisors give in float64", async () => {
    const weight = async (name: string) => model.weight(name);
    const { nHeads, nKvHeads, dHead } = model.spec;
    const [source, target] = [0, 1].map((layer) => perLayerArrays(7 + layer)) as [Arrays, Arrays];
    const points = ["attn.hook_pattern", "ln1.hook_scale", "ln2.hook_scale"].map((name) => `blocks.1.${name}`);
    using run = await model.forward(IDS, { capture: points });
    const [pattern, scale1, scale2] = await Promise.all(points.map((name) => run.cache.read(name)));
    const [w1, w2, W_V, W_O] = await Promise.all(
      ["ln1.w", "ln2.w", "attn.W_V", "attn.W_O"].map(async (name) => (await weight(`blocks.1.${name}`)).data),
    );
    let checked = 0;
    const wanted = graph.nodes.flatMap((node, index) =>
      node.kind === "feature" && node.layer === 1 ? [{ node, index }] : [],
    );
    for (const { node, index } of wanted) {
      for (const { source: from, weight: edge } of graph.into(index)) {
        const feature = graph.nodes[from]!;
        if (feature.kind !== "feature") continue;
        const [p, q] = [feature.position, node.position];
        const vector = Float64Array.from(
          { length: WIDTH },
          (_, d) => feature.activation * source.W_dec![feature.feature * WIDTH + d]!,
        );
        const moved = Float64Array.from(vector, (value) => (p === q ? value : 0));
        for (let head = 0; head < nHeads; head++) {
          const kv = Math.floor((head * nKvHeads) / nHeads);
          for (let k = 0; k < dHead; k++) {
            let value = 0;
            for (let d = 0; d < WIDTH; d++)
              value +=
                (vector[d]! / scale1![p]!) *
                w1![d]! *
                W_V![((W_V!.length === nHeads * WIDTH * dHead ? head : kv) * WIDTH + d) * dHead + k]!;
            value *= pattern![(head * IDS.length + q) * IDS.length + p]!;
            for (let d = 0; d < WIDTH; d++) moved[d]! += value * W_O![(head * dHead + k) * WIDTH + d]!;
          }
        }
        const expected = moved.reduce(
          (sum, value, d) => sum + (value / scale2![q]!) * w2![d]! * target.W_enc![node.feature * WIDTH + d]!,
          0,
        );
        expect(Math.abs(edge - expected)).toBeLessThan(1e-5 * (1 + Math.abs(expected)));
        checked++;
      }
    }
    expect(checked).toBeGreaterThan(200);
  });

  it("keeps the most influential features, and says what the others add", async () => {
    const seen: number[] = [];
    const some = await attributionGraph(model, transcoders, {
      ...{ input: IDS, maxFeatures: 30, maxLogits: 3, logitProbability: 1 },
      onProgress: ({ done, total }) => void seen.push(done / total),
    });
    expectComplete(some);
    expect(some.nodes.filter(({ kind }) => kind === "feature")).toHaveLength(30);
    expect(some.nodes.filter(({ kind }) => kind === "logit")).toHaveLength(3);
    expect(seen.at(-1)).toBe(1);
    expect(some.nodes.some((node) => node.kind === "feature" && node.leftOut !== 0)).toBe(true);
  });

  it("counts features before firstPosition as error", async () => {
    const later = await attributionGraph(model, transcoders, { input: IDS, firstPosition: 2, maxLogits: 1 });
    expectComplete(later);
    const positions = later.nodes.flatMap((node) => (node.kind === "feature" ? [node.position] : []));
    expect(Math.min(...positions)).toBe(2);
  });

  it("ends when told to, and leaves nothing on the GPU", async () => {
    const stop = new AbortController();
    const onProgress = () => stop.abort(new Error("enough"));
    const run = () => attributionGraph(model, transcoders, { input: IDS, signal: stop.signal, onProgress });
    await expect(run()).rejects.toThrow("enough");
    const { buffers } = model.gpu.memory;
    await attributionGraph(model, transcoders, { input: IDS });
    expect(model.gpu.memory.buffers).toBeLessThanOrEqual(buffers);
  });

  it("is pruned by influence", () => {
    const { nodes, edges, influence } = graph.prune({ nodeThreshold: 0.5, edgeThreshold: 0.9 });
    expect(nodes.length).toBeLessThan(graph.nodes.length);
    const whole = graph.prune({ nodeThreshold: 1, edgeThreshold: 1 });
    expect(edges.length).toBeLessThan(whole.edges.length);
    const kept = new Set(nodes);
    for (const { source, target } of edges) expect(kept.has(source) && kept.has(target)).toBe(true);
    for (const index of nodes) {
      const { kind } = graph.nodes[index]!;
      if (kind === "feature" || kind === "error") {
        expect(edges.some(({ source }) => source === index)).toBe(true);
        expect(influence[index]).toBeLessThan(0.5 + 0.05);
      }
      if (kind === "feature") expect(edges.some(({ target }) => target === index)).toBe(true);
    }
    expect(() => graph.prune({ nodeThreshold: 2 })).toThrow(/nodeThreshold/);
  });

  it("is written as circuit-tracer's JSON", () => {
    const json = JSON.parse(JSON.stringify(graph.toCircuitTracer({ slug: "a-prompt", scan: "mine" })));
    expect(json.metadata).toEqual({
      ...{ slug: "a-prompt", scan: "mine", transcoder_list: [], node_threshold: 0.8, schema_version: 1 },
      prompt: expect.any(String),
      prompt_tokens: IDS.map(() => expect.any(String)),
    });
    expect(json.qParams).toEqual({ pinnedIds: [], supernodes: [], linkType: "both", clickedId: "", sg_pos: "" });
    const ids = new Map<string, { feature_type: string }>(
      json.nodes.map((node: { node_id: string }) => [node.node_id, node]),
    );
    expect(ids.size).toBe(json.nodes.length);
    const [idPattern, jsPattern] = [
      {
        "cross layer transcoder": /^[0-2]_\d+_[0-5]$/,
        "mlp reconstruction error": /^[0-2]_-1_[0-5]$/,
        embedding: /^E_\d+_[0-5]$/,
        logit: /^4_\d+_5$/,
      },
      {
        "cross layer transcoder": /^[0-2]_\d+-0$/,
        "mlp reconstruction error": /^[0-2]_-1-[0-5]$/,
        embedding: /^E_\d+-[0-5]$/,
        logit: /^L_\d+-5$/,
      },
    ] as const;
    for (const node of json.nodes) {
      const type = node.feature_type as keyof typeof idPattern;
      expect(node.node_id).toMatch(idPattern[type]);
      expect(node.jsNodeId).toMatch(jsPattern[type]);
      const isLogit = type === "logit";
      expect(node).toEqual({
        ...{ node_id: node.node_id, jsNodeId: node.jsNodeId, feature_type: type, run_idx: 0, reverse_ctx_idx: 0 },
        feature: expect.any(Number),
        layer: node.node_id.split("_")[0],
        ctx_idx: Number(node.node_id.split("_")[2]),
        token_prob: isLogit ? expect.any(Number) : 0,
        is_target_logit:
          isLogit && node === json.nodes.find((each: { feature_type: string }) => each.feature_type === "logit"),
        clerp: isLogit ? expect.stringMatching(/^Output ".*" \(p=0\.\d{3}\)$/s) : "",
        influence: isLogit ? null : expect.any(Number),
        activation: type === "cross layer transcoder" ? expect.any(Number) : null,
      });
      if (type !== "cross layer transcoder") continue;
      const [layer, feature] = node.node_id.split("_").map(Number) as [number, number];
      expect(node.feature).toBe(((layer + feature) * (layer + feature + 1)) / 2 + feature);
    }
    for (const link of json.links) {
      expect(Object.keys(link).sort()).toEqual(["source", "target", "weight"]);
      expect(ids.has(link.source) && ids.has(link.target)).toBe(true);
    }
    expect(json.nodes.filter((node: { feature_type: string }) => node.feature_type === "embedding")).toHaveLength(
      IDS.length,
    );
  });

  it("refuses what gives no graph, by name", async () => {
    const refused = async (dictionary: Promise<Dictionary>, code: string, message: RegExp) => {
      using own = await dictionary;
      const failure = await attributionGraph(model, own, { input: IDS }).catch((error) => error);
      expect(failure.code).toBe(code);
      expect(failure.message).toMatch(message);
    };
    await refused(loadDictionary(model, perLayer(1, { layers: [0, 1] }), HOOKS), "module/graph", /block 2\./);
    await refused(
      loadDictionary(model, perLayer(1), { hook: "hook_resid_mid", hookOut: "hook_resid_mid" }),
      "module/graph",
      /sparse autoencoder/,
    );
    await refused(
      loadDictionary(model, perLayer(1), { hook: "mlp.hook_in", hookOut: "hook_attn_out" }),
      "module/graph",
      /no MLP's output/,
    );
    using gemma = await hooked("../types/gemma4_text_ple");
    using own = await loadDictionary(gemma, perLayer(1), HOOKS);
    const unfrozen = await attributionGraph(gemma, own, { input: IDS }).catch((error) => error);
    expect(unfrozen.message).toMatch(/gemma4_text model: qkNorm of block 0 is not linear/);
    const failure = await attributionGraph(model, transcoders, { input: IDS, firstPosition: 6 }).catch(
      (error) => error,
    );
    expect(failure.code).toBe("hook/position-range");
    expect(() => graph.into(1e6)).toThrow(/no node/);
  });
});

type Arrays = Record<string, Float32Array>;

function perLayerArrays(seed: number): Arrays {
  const shapes = { W_enc: [FEATURES, WIDTH], W_dec: [FEATURES, WIDTH], b_enc: [FEATURES], b_dec: [WIDTH] };
  return Object.fromEntries(Object.entries(randomArrays(seed, shapes)).map(([name, { data }]) => [name, data]));
}
