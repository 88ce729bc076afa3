/** An attribution graph: nodes, and for each target the edges into it. */
import { HookError } from "../../errors.ts";
import * as s from "../../schema/schema.ts";
import { type CircuitTracerGraph, type CircuitTracerOptions, toCircuitTracer } from "./circuit-tracer.ts";
import { type Pruned, prune } from "./influence.ts";

/** An active feature of a transcoder. */
export interface FeatureNode {
  readonly kind: "feature";
  readonly layer: number;
  readonly position: number;
  readonly feature: number;
  readonly activation: number;
  /** What biases, position embeddings and edits add to the activation. Edges, `leftOut` and this are the activation. */
  readonly bias: number;
  /** What active features that are no nodes of the graph (`maxFeatures`) add to the activation. */
  readonly leftOut: number;
}

/** What the features do not explain of an MLP's output. */
export interface ErrorNode {
  readonly kind: "error";
  readonly layer: number;
  readonly position: number;
}

/** The embedding of a token. */
export interface TokenNode {
  readonly kind: "token";
  readonly position: number;
  readonly token: number;
}

/** A logit at the last position, less the mean of all logits. */
export interface LogitNode {
  readonly kind: "logit";
  readonly position: number;
  readonly token: number;
  readonly probability: number;
  /** Before the soft cap of logits, less the mean over the vocabulary. Edges, `leftOut` and `bias` are this. */
  readonly logit: number;
  readonly bias: number;
  readonly leftOut: number;
}

export type AttributionNode = FeatureNode | ErrorNode | TokenNode | LogitNode;

/** An edge of a graph, by the indices of its nodes. */
export interface AttributionEdge {
  readonly source: number;
  readonly target: number;
  /** What the target loses, in the frozen model, without the source. */
  readonly weight: number;
}

/** How much of a graph is kept. */
export interface PruneOptions {
  /** Nodes that make up this share of the influence on the logits. Default 0.8. */
  nodeThreshold?: number;
  /** Edges that make up this share of the influence of the edges that are left. Default 0.98. */
  edgeThreshold?: number;
}

export const PRUNE_FIELDS = { nodeThreshold: s.part, edgeThreshold: s.part } as const satisfies s.Fields<PruneOptions>;
export const PRUNE_OPTIONS = s.object<PruneOptions>("the options of prune", PRUNE_FIELDS);

/** What an attribution graph is made of. */
export interface GraphParts {
  /** Token ids. */
  readonly ids: readonly number[];
  /** The text of each token of the prompt, and of each logit. */
  readonly textOf: (token: number) => string;
  readonly nLayers: number;
  /** Features by layer, position and number; errors by layer and position; tokens; logits, the likeliest first. */
  readonly nodes: readonly AttributionNode[];
  /** For the features and the logits, the weight of the edge from each node. */
  readonly rows: ReadonlyMap<number, Float32Array>;
  readonly defaults: Required<PruneOptions>;
}

/** What `attributionGraph` gives. It holds numbers of the host alone, and needs no `destroy`. */
export class AttributionGraph {
  readonly #parts: GraphParts;

  /** @ignore */
  constructor(parts: GraphParts) {
    this.#parts = parts;
  }

  /** Token ids of the prompt. */
  get ids(): readonly number[] {
    return this.#parts.ids;
  }

  /** Features by layer, position and number; errors by layer and position; tokens; logits, the likeliest first. */
  get nodes(): readonly AttributionNode[] {
    return this.#parts.nodes;
  }

  /** Every edge that is not 0, by targets. */
  *edges(): Generator<AttributionEdge> {
    for (const target of this.#parts.rows.keys()) yield* this.into(target);
  }

  /**
   * The edges into a node; none into errors and tokens.
   * @throws HookError `hook/no-such-component` for an index that no node has
   */
  into(target: number): AttributionEdge[] {
    if (!this.nodes[target])
      throw new HookError(
        "hook/no-such-component",
        `The graph has no node ${String(target)}; they go from 0 to ${this.nodes.length - 1}.`,
      );
    const row = this.#parts.rows.get(target) ?? [];
    return Array.from(row, (weight, source) => ({ source, target, weight })).filter(({ weight }) => weight !== 0);
  }

  /** The nodes and edges that the logits depend on most. */
  prune(options: PruneOptions = {}): Pruned {
    const read = s.readOptions(PRUNE_OPTIONS, options, "prune");
    return prune(this.nodes, this.#parts.rows, { ...this.#parts.defaults, ...read });
  }

  /** The pruned graph as the JSON that circuit-tracer's viewer and Neuronpedia open. */
  toCircuitTracer(options: CircuitTracerOptions): CircuitTracerGraph {
    return toCircuitTracer(this.#parts, options);
  }
}
