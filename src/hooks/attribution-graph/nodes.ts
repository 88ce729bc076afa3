/** What an attribution graph is made of: nodes, and for each target the edges into it. */
import * as s from "../../schema/schema.ts";

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

/** A node of an attribution graph. */
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
