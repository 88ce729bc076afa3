/**
 * A model as a graph of who reads whom: the terms of the residual stream are nodes, and every later reader has an edge from each.
 *
 * Nodes are `input` (the embeddings), heads `a{layer}.h{head}`, MLPs `m{layer}` and `logits`. A head has three inputs, `<q>`,
 * `<k>` and `<v>`, so that its edges are `m0->a1.h2<q>` and so on. Names and JSON are those of EAP-IG (Hanna et al. 2024, arXiv
 * 2403.17806; github.com/hannamw/EAP-IG).
 *
 * With grouped queries, the heads of a group share one key and one value input. Its edges carry the name of the group's first head and
 * lead to all of its heads; EAP-IG counts them once for each head, and the scores of those add up to the one here.
 */
import { HookError, InputError } from "../../errors.ts";
import type { ModelSpec } from "../../model/spec.ts";
import * as s from "../../schema/schema.ts";

/** The shape of a graph, in EAP-IG's words; the last two are written only where they differ from what EAP-IG assumes. */
export interface CircuitConfig {
  n_layers: number;
  n_heads: number;
  parallel_attn_mlp: boolean;
  d_model: number;
  /** Key-value heads, where queries are grouped. */
  n_key_value_heads?: number;
  /** Blocks without MLPs. */
  attn_only?: boolean;
}

/** A node of a graph. */
export interface CircuitNode {
  readonly name: string;
  /** Whether it belongs to the circuit. */
  readonly inGraph: boolean;
  /** What the metric gains when all edges from it carry its corrupted output; to first order, the sum of their scores. None of `logits`. */
  readonly score?: number | undefined;
}

/** An edge of a graph: what a node adds to the residual, as one input reads it. */
export interface CircuitEdge {
  /** `source->input`. */
  readonly name: string;
  /** The node whose output it carries. */
  readonly source: string;
  /** What reads it: `m3`, `a1.h2<q>`, `logits`. */
  readonly input: string;
  /** The nodes that the input belongs to: one, or all heads of a group. */
  readonly targets: readonly string[];
  /** What the metric gains when the edge carries the corrupted output. */
  readonly score: number;
  /** Whether it belongs to the circuit. */
  readonly inGraph: boolean;
}

/** One input of a node, or of the heads of a group. */
export interface CircuitInput {
  readonly name: string;
  readonly targets: readonly string[];
  readonly layer: number;
  /** What it is: a head's query, key or value, an MLP's input, or the residual that the logits read. */
  readonly part: "q" | "k" | "v" | "mlp" | "logits";
  /** The head, or key-value head; 0 for others. */
  readonly head: number;
  /** Nodes whose outputs it reads. */
  readonly sources: readonly string[];
}

/** EAP-IG's file. */
export interface CircuitJson {
  cfg: CircuitConfig;
  nodes: Record<string, { in_graph: boolean; score?: number }>;
  edges: Record<string, { score: number; in_graph: boolean }>;
}

const MARK = s.object<{ in_graph: boolean; score: number }>("a node { in_graph, score? }", {
  in_graph: s.required(s.flag),
  score: s.finite,
});
const EDGE = s.object<{ in_graph: boolean; score: number }>("an edge { score, in_graph }", {
  score: s.required(s.finite),
  in_graph: s.required(s.flag),
});
const CONFIG = s.object<CircuitConfig>("the shape of a graph", {
  n_layers: s.required(s.wholeFrom(1)),
  n_heads: s.required(s.wholeFrom(1)),
  parallel_attn_mlp: s.required(s.flag),
  d_model: s.required(s.wholeFrom(1)),
  n_key_value_heads: s.wholeFrom(1),
  attn_only: s.flag,
});
const JSON_SCHEMA = s.object<CircuitJson>("a graph { cfg, nodes, edges }", {
  cfg: s.required(CONFIG),
  nodes: s.required(s.record("nodes", MARK)),
  edges: s.required(s.record("edges", EDGE)),
});

/** The graph of one model: all its edges, with their scores and the circuit's marks. It does not change. */
export class CircuitGraph {
  readonly nodes: ReadonlyMap<string, CircuitNode>;
  readonly edges: ReadonlyMap<string, CircuitEdge>;
  /** Every input, in the order of the forward pass. */
  readonly inputs: readonly CircuitInput[];

  private constructor(
    readonly cfg: Readonly<CircuitConfig>,
    nodeOf: (name: string) => Omit<CircuitNode, "name">,
    edgeOf: (name: string) => Pick<CircuitEdge, "score" | "inGraph">,
  ) {
    const { nodes, inputs } = shapeOf(cfg);
    this.inputs = inputs;
    this.nodes = new Map(nodes.map((name) => [name, { name, ...nodeOf(name) }]));
    const edges = inputs.flatMap(({ name: input, targets, sources }) =>
      sources.map((source): CircuitEdge => {
        const name = `${source}->${input}`;
        return { name, source, input, targets, ...edgeOf(name) };
      }),
    );
    this.edges = new Map(edges.map((edge) => [edge.name, edge]));
  }

  /** The graph of a model: no scores, and nothing in the circuit. */
  static of({ nLayers, nHeads, nKvHeads, dModel, block, mlp }: ModelSpec): CircuitGraph {
    const cfg: CircuitConfig = {
      n_layers: nLayers,
      n_heads: nHeads,
      parallel_attn_mlp: block.residual === "parallel",
      d_model: dModel,
      ...(nKvHeads !== nHeads && { n_key_value_heads: nKvHeads }),
      ...(mlp.absent && { attn_only: true }),
    };
    const outside = () => ({ inGraph: false, score: 0 });
    return new CircuitGraph(cfg, (name) => ({ inGraph: name === "logits" }), outside);
  }

  /** @throws InputError `input/circuit` for nodes or edges that are missing or too many; `input/argument` for other JSON. */
  static fromJSON(json: unknown): CircuitGraph {
    const { cfg, nodes, edges } = s.readArgument(JSON_SCHEMA, json, "CircuitGraph.fromJSON", "json");
    const groups = cfg.n_heads / (cfg.n_key_value_heads ?? cfg.n_heads);
    if (!Number.isInteger(groups))
      throw wrong(`${cfg.n_heads} heads cannot share ${cfg.n_key_value_heads} key-value heads evenly`);
    const found = <T>(what: string, list: Record<string, T>, name: string): T => {
      if (Object.hasOwn(list, name)) return list[name] as T;
      throw wrong(`it has no ${what} ${name}`);
    };
    const graph = new CircuitGraph(
      cfg,
      (name) => {
        const { in_graph: inGraph, score } = found("node", nodes, name);
        return { inGraph, ...(score !== undefined && { score }) };
      },
      (name) => {
        const { in_graph: inGraph, score } = found("edge", edges, name);
        return { inGraph, score };
      },
    );
    const beyond = [
      ...Object.keys(nodes).filter((name) => !graph.nodes.has(name)),
      ...Object.keys(edges).filter((name) => !graph.edges.has(name)),
    ];
    if (beyond.length > 0) throw wrong(`a model of its shape has no ${beyond[0]}`);
    return graph;
  }

  /** The same graph with other scores of its edges, and of its nodes; without `ofNode` nodes have none. */
  withScores(
    scoreOf: (edge: CircuitEdge) => number,
    ofNode: (node: CircuitNode) => number | undefined = () => undefined,
  ): CircuitGraph {
    const edge = (name: string) => this.edges.get(name) as CircuitEdge;
    const node = (name: string) => this.nodes.get(name) as CircuitNode;
    return new CircuitGraph(
      this.cfg,
      (name) => ({ inGraph: node(name).inGraph, score: ofNode(node(name)) }),
      (name) => ({ score: scoreOf(edge(name)), inGraph: edge(name).inGraph }),
    );
  }

  /** @throws HookError `hook/circuit-scores` naming the first edge or node whose score is NaN or infinite, and `why` that will not do */
  assertFinite(why: string): void {
    for (const { name, score } of [...this.edges.values(), ...this.nodes.values()])
      if (score !== undefined && !Number.isFinite(score))
        throw new HookError(
          "hook/circuit-scores",
          `The score of ${this.edges.has(name) ? "edge" : "node"} ${name} is ${score}: ${why}. Look where the model's activations or the metric stop being finite, with model.runWithCache().`,
        );
  }

  /** The same graph with these nodes and edges, by name, as its circuit. */
  withCircuit(nodes: ReadonlySet<string>, edges: ReadonlySet<string>): CircuitGraph {
    return new CircuitGraph(
      this.cfg,
      (name) => ({ ...this.nodes.get(name), inGraph: nodes.has(name) }),
      (name) => ({ score: (this.edges.get(name) as CircuitEdge).score, inGraph: edges.has(name) }),
    );
  }

  /** The file that EAP-IG reads. @throws HookError `hook/circuit-scores` for a score that JSON has no number for */
  toJSON(): CircuitJson {
    this.assertFinite("JSON has no such number, and null is none");
    const nodes: CircuitJson["nodes"] = {};
    for (const { name, inGraph, score } of this.nodes.values())
      nodes[name] = { in_graph: inGraph, ...(score !== undefined && { score }) };
    const edges: CircuitJson["edges"] = {};
    for (const { name, score, inGraph } of this.edges.values()) edges[name] = { score, in_graph: inGraph };
    return { cfg: { ...this.cfg }, nodes, edges };
  }
}

export const CIRCUIT_GRAPH = s.instance(
  "a CircuitGraph, made by edgeAttribution() or CircuitGraph.fromJSON()",
  CircuitGraph,
);

const wrong = (what: string) => new InputError("input/circuit", `This is no graph of a model: ${what}.`);

/** The nodes and inputs of a model, in the order of the forward pass. */
function shapeOf(cfg: CircuitConfig): { nodes: string[]; inputs: CircuitInput[] } {
  const nodes = ["input"];
  const inputs: CircuitInput[] = [];
  const group = cfg.n_heads / (cfg.n_key_value_heads ?? cfg.n_heads);
  for (let layer = 0; layer < cfg.n_layers; layer++) {
    const heads = Array.from({ length: cfg.n_heads }, (_, head) => `a${layer}.h${head}`);
    const before = [...nodes];
    for (const part of ["q", "k", "v"] as const) {
      const shared = part === "q" ? 1 : group;
      for (let first = 0; first < cfg.n_heads; first += shared) {
        const targets = heads.slice(first, first + shared);
        inputs.push({ name: `${targets[0]}<${part}>`, targets, layer, part, head: first / shared, sources: before });
      }
    }
    nodes.push(...heads);
    if (cfg.attn_only) continue;
    const sources = cfg.parallel_attn_mlp ? before : [...nodes];
    inputs.push({ name: `m${layer}`, targets: [`m${layer}`], layer, part: "mlp", head: 0, sources });
    nodes.push(`m${layer}`);
  }
  const last = { layer: cfg.n_layers - 1, part: "logits", head: 0, sources: [...nodes] } as const;
  inputs.push({ name: "logits", targets: ["logits"], ...last });
  return { nodes: [...nodes, "logits"], inputs };
}
