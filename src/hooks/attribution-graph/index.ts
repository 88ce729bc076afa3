export { type AttributionGraphOptions, attributionGraph } from "./attribution-graph.ts";
export type { CircuitTracerGraph, CircuitTracerNode, CircuitTracerOptions } from "./circuit-tracer.ts";
export { AttributionGraph } from "./graph.ts";
export type { Pruned } from "./influence.ts";
export type {
  AttributionEdge,
  AttributionNode,
  ErrorNode,
  FeatureNode,
  GraphParts,
  LogitNode,
  PruneOptions,
  TokenNode,
} from "./nodes.ts";
