/** Graphs of nodes and edges, their JSON and the choice of circuits: without a model. */
import { describe, expect, it } from "vitest";
import { InputError } from "../../src/errors.ts";
import { CircuitGraph, type CircuitJson, circuit } from "../../src/hooks/index.ts";

/** One block of two heads, as EAP-IG writes it. */
function handMade(scores: Record<string, number>): CircuitJson {
  const heads = ["a0.h0", "a0.h1"];
  const edges = [
    ...["q", "k", "v"].flatMap((part) => heads.map((head) => `input->${head}<${part}>`)),
    ...["input", ...heads].map((source) => `${source}->m0`),
    ...["input", ...heads, "m0"].map((source) => `${source}->logits`),
  ];
  return {
    cfg: { n_layers: 1, n_heads: 2, parallel_attn_mlp: false, d_model: 8 },
    nodes: Object.fromEntries(["input", ...heads, "m0", "logits"].map((name) => [name, { in_graph: true }])),
    edges: Object.fromEntries(edges.map((name) => [name, { score: scores[name] ?? 0.01, in_graph: false }])),
  };
}

const SCORES = { "m0->logits": -5, "input->a0.h0<q>": 4, "a0.h1->m0": 3, "input->a0.h1<v>": -2, "input->logits": 1 };
const chosen = (graph: CircuitGraph) =>
  [...graph.edges.values()].flatMap(({ name, inGraph }) => (inGraph ? [name] : []));
const nodesOf = (graph: CircuitGraph) =>
  [...graph.nodes.values()].flatMap(({ name, inGraph }) => (inGraph ? [name] : []));

describe("the JSON of a graph", () => {
  it("comes back as it was", () => {
    const json = handMade(SCORES);
    json.nodes.m0 = { in_graph: false, score: 2.5 };
    (json.edges["input->m0"] as { in_graph: boolean }).in_graph = true;
    expect(JSON.parse(JSON.stringify(CircuitGraph.fromJSON(json)))).toEqual(json);
    const picked = circuit(CircuitGraph.fromJSON(json), 4);
    expect(CircuitGraph.fromJSON(picked.toJSON())).toEqual(picked);
  });

  it("has no edge between attention and MLP of a parallel block", () => {
    const json = handMade({});
    json.cfg.parallel_attn_mlp = true;
    delete json.edges["a0.h0->m0"];
    delete json.edges["a0.h1->m0"];
    expect(CircuitGraph.fromJSON(json).edges.size).toBe(11);
  });

  it("that is none is refused", () => {
    const refused = (change: (json: CircuitJson) => void) => {
      const json = handMade({});
      change(json);
      return () => CircuitGraph.fromJSON(json);
    };
    expect(refused(({ edges }) => delete edges["input->m0"])).toThrow(/no edge input->m0/);
    expect(refused(({ nodes }) => delete nodes["a0.h1"])).toThrow(/no node a0\.h1/);
    expect(refused(({ edges }) => Object.assign(edges, { "m0->a0.h0<q>": { score: 0, in_graph: true } }))).toThrow(
      /has no m0->a0\.h0<q>/,
    );
    expect(refused(({ cfg }) => Object.assign(cfg, { n_heads: 2, n_key_value_heads: 3 }))).toThrow(/evenly/);
    expect(refused(({ edges }) => Object.assign(edges, { "input->m0": { score: "1", in_graph: true } }))).toThrow(
      InputError,
    );
    expect(() => CircuitGraph.fromJSON([])).toThrow(InputError);
  });
});

describe("a circuit", () => {
  const graph = CircuitGraph.fromJSON(handMade(SCORES));
  const path = ["input->a0.h1<v>", "a0.h1->m0", "m0->logits"];

  it("of the largest edges leaves out what dangles", () => {
    expect(chosen(circuit(graph, 2, { method: "top-n" }))).toEqual([]);
    const four = circuit(graph, 4, { method: "top-n" });
    expect(chosen(four)).toEqual(path);
    expect(nodesOf(four)).toEqual(["input", "a0.h1", "m0", "logits"]);
  });

  it("grows from the logits", () => {
    expect(chosen(circuit(graph, 2))).toEqual([]); // a0.h1 reads nothing yet
    expect(chosen(circuit(graph, 3))).toEqual(path);
    expect(new Set(chosen(circuit(graph, 4)))).toEqual(new Set([...path, "input->logits"]));
  });

  it("may be everything or nothing", () => {
    for (const method of ["top-n", "greedy"] as const) {
      expect(chosen(circuit(graph, 13, { method }))).toEqual([...graph.edges.keys()]);
      expect(nodesOf(circuit(graph, 0, { method }))).toEqual(["logits"]);
    }
    expect(() => circuit(graph, 14)).toThrow(/13 edges/);
  });

  it("keeps a head whose group's key is read", () => {
    const cfg = {
      n_layers: 1,
      n_heads: 4,
      n_key_value_heads: 2,
      parallel_attn_mlp: false,
      d_model: 8,
      attn_only: true,
    };
    const names = [
      ...[0, 1, 2, 3].map((head) => `input->a0.h${head}<q>`),
      ...["k", "v"].flatMap((part) => [0, 2].map((head) => `input->a0.h${head}<${part}>`)),
      ...["input", "a0.h0", "a0.h1", "a0.h2", "a0.h3"].map((source) => `${source}->logits`),
    ];
    const nodes = ["input", "a0.h0", "a0.h1", "a0.h2", "a0.h3", "logits"].map((name) => [name, { in_graph: false }]);
    const big = new Set(["input->a0.h2<k>", "a0.h3->logits"]);
    const edges = names.map((name) => [name, { score: big.has(name) ? 1 : 0, in_graph: false }]);
    const grouped = CircuitGraph.fromJSON({ cfg, nodes: Object.fromEntries(nodes), edges: Object.fromEntries(edges) });
    expect(grouped.edges.get("input->a0.h2<k>")?.targets).toEqual(["a0.h2", "a0.h3"]);
    expect(chosen(circuit(grouped, 2))).toEqual([...big]);
  });
});
