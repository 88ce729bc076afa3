/**
 * The JSON of circuit-tracer (https://github.com/safety-research/circuit-tracer), which its viewer and Neuronpedia open. The names
 * of nodes and their numbering are its own: `layer_feature_position` for features, feature -1 for errors, `E_token_position`, and for
 * logits the layer after the last but one.
 */
import * as s from "../../schema/schema.ts";
import { prune } from "./influence.ts";
import type { AttributionNode, GraphParts, PruneOptions } from "./nodes.ts";

/** How the JSON is named, and how much of the graph it holds. */
export interface CircuitTracerOptions extends PruneOptions {
  /** The name of the graph, by which the viewer asks for its file. */
  slug: string;
  /** Which transcoders these are, for their features' examples: `owner/name` on the Hub; for Neuronpedia its name of the model. Default "custom". */
  scan?: string;
  /** The text of the prompt. Default: that of its tokens. */
  prompt?: string;
}

export const CIRCUIT_TRACER_OPTIONS = s.object<CircuitTracerOptions>("the options of toCircuitTracer", {
  slug: s.required(s.text),
  scan: s.text,
  prompt: s.text,
  nodeThreshold: s.part,
  edgeThreshold: s.part,
});

/** A node of circuit-tracer's JSON. */
export interface CircuitTracerNode {
  node_id: string;
  /** Of features a number that layer and feature give: (l + f)(l + f + 1) / 2 + f. */
  feature: number;
  layer: string;
  ctx_idx: number;
  feature_type: "cross layer transcoder" | "mlp reconstruction error" | "embedding" | "logit";
  token_prob: number;
  is_target_logit: boolean;
  run_idx: 0;
  reverse_ctx_idx: 0;
  jsNodeId: string;
  /** A description. */
  clerp: string;
  /** The share of influence that this node and those with more have together. */
  influence: number | null;
  activation: number | null;
}

/** What `toCircuitTracer` gives: `JSON.stringify` it into `slug.json`; `graph-metadata.json` beside it, `{ graphs: [metadata] }`, names it to the viewer. */
export interface CircuitTracerGraph {
  metadata: {
    slug: string;
    scan: string;
    transcoder_list: string[];
    prompt_tokens: string[];
    prompt: string;
    node_threshold: number;
    schema_version: 1;
  };
  qParams: { pinnedIds: string[]; supernodes: string[][]; linkType: "both"; clickedId: string; sg_pos: string };
  nodes: CircuitTracerNode[];
  links: { source: string; target: string; weight: number }[];
}

/** Line breaks and tabs as signs, as the viewer shows tokens. */
const shown = (text: string) => text.replaceAll("\n", "⏎").replaceAll("\t", "→").replaceAll("\r", "↵");

export function toCircuitTracer(parts: GraphParts, options: CircuitTracerOptions): CircuitTracerGraph {
  const read = s.readOptions(CIRCUIT_TRACER_OPTIONS, options, "toCircuitTracer");
  const { slug, scan = "custom", prompt, ...thresholds } = read;
  const { ids, textOf, nodes, rows, defaults } = parts;
  const settings = { ...defaults, ...thresholds };
  const pruned = prune(nodes, rows, settings);
  const ends = new Set(pruned.edges.flatMap(({ source, target }) => [source, target]));
  const shownNodes = pruned.nodes.filter((index) => {
    const { kind } = nodes[index] as AttributionNode;
    return kind === "token" || kind === "logit" || ends.has(index);
  });
  const firstLogit = nodes.findIndex(({ kind }) => kind === "logit");
  const made = new Map(
    shownNodes.map((index) => {
      const node = nodes[index] as AttributionNode;
      return [index, nodeOf(node, parts, pruned.influence[index] as number, index === firstLogit)];
    }),
  );
  const idOf = (index: number) => (made.get(index) as CircuitTracerNode).node_id;
  return {
    metadata: {
      ...{ slug, scan, transcoder_list: [] },
      prompt_tokens: ids.map((id) => shown(textOf(id))),
      prompt: prompt ?? ids.map(textOf).join(""),
      node_threshold: settings.nodeThreshold,
      schema_version: 1,
    },
    qParams: { pinnedIds: [], supernodes: [], linkType: "both", clickedId: "", sg_pos: "" },
    nodes: [...made.values()],
    links: pruned.edges.map(({ source, target, weight }) => ({ source: idOf(source), target: idOf(target), weight })),
  };
}

function nodeOf(node: AttributionNode, parts: GraphParts, influence: number, isTarget: boolean): CircuitTracerNode {
  const common: Omit<CircuitTracerNode, "node_id" | "jsNodeId" | "feature" | "layer" | "feature_type"> = {
    ...{ ctx_idx: node.position, token_prob: 0, is_target_logit: false, run_idx: 0, reverse_ctx_idx: 0, clerp: "" },
    ...{ influence, activation: null },
  };
  const { position } = node;
  if (node.kind === "feature") {
    const { layer, feature, activation } = node;
    const sum = layer + feature;
    return {
      ...common,
      ...{ node_id: `${layer}_${feature}_${position}`, jsNodeId: `${layer}_${feature}-0`, activation },
      ...{ feature: (sum * (sum + 1)) / 2 + feature, layer: `${layer}`, feature_type: "cross layer transcoder" },
    };
  }
  if (node.kind === "error") {
    const { layer } = node;
    return {
      ...common,
      ...{ node_id: `${layer}_-1_${position}`, jsNodeId: `${layer}_-1-${position}` },
      ...{ feature: -1, layer: `${layer}`, feature_type: "mlp reconstruction error" },
    };
  }
  if (node.kind === "token") {
    const { token } = node;
    return {
      ...common,
      ...{ node_id: `E_${token}_${position}`, jsNodeId: `E_${token}-${position}` },
      ...{ feature: position, layer: "E", feature_type: "embedding" },
    };
  }
  const { token, probability } = node;
  const layer = `${parts.nLayers + 1}`;
  return {
    ...common,
    ...{ node_id: `${layer}_${token}_${position}`, jsNodeId: `L_${token}-${position}`, feature: token, layer },
    ...{ feature_type: "logit", token_prob: probability, is_target_logit: isTarget, influence: null },
    clerp: `Output "${shown(parts.textOf(token))}" (p=${probability.toFixed(3)})`,
  };
}
