export { type CircuitOptions, circuit } from "./circuit.ts";
export {
  type CircuitConfig,
  type CircuitEdge,
  CircuitGraph,
  type CircuitInput,
  type CircuitJson,
  type CircuitNode,
} from "./circuit-graph.ts";
export { type EdgeAttributionOptions, edgeAttribution } from "./edge-attribution.ts";
export { type Faithfulness, faithfulness } from "./faithfulness.ts";
export type { PromptPairOptions } from "./prompts.ts";
