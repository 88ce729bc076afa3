export { type AttributionGraphOptions, attributionGraph } from "./attribution-graph.ts";
export type { CircuitTracerGraph, CircuitTracerNode, CircuitTracerOptions } from "./circuit-tracer.ts";
export {
  type AttributionEdge,
  AttributionGraph,
  type AttributionNode,
  type ErrorNode,
  type FeatureNode,
  type LogitNode,
  type PruneOptions,
  type TokenNode,
} from "./graph.ts";
export type { Pruned } from "./influence.ts";
