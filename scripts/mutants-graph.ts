/** Bugs of attribution graphs. */
import type { Mutant } from "./mutant.ts";

const GRAPH = ["test/modules/attribution-graph.test.ts"];
const FOLDER = "src/hooks/attribution-graph";

export const GRAPH_MUTANTS: readonly Mutant[] = [
  {
    name: "attribution graph: the mean of all logits is not taken off",
    file: `${FOLDER}/attribution-graph.ts`,
    from: "fill(-1 / vocabSize)",
    to: "fill(0)",
    tests: GRAPH,
  },
  {
    name: "attribution graph: the soft cap's and norms' ops are not looked for",
    file: `${FOLDER}/linear.ts`,
    from: 'return isLinear ? "linearly" : op;',
    to: 'return isLinear || op ? "linearly" : op;',
    tests: GRAPH,
  },
  {
    name: "attribution graph: the decoder's bias is part of the error",
    file: `${FOLDER}/sources.ts`,
    from: "value - (bias[i % dOut] as number)",
    to: "value",
    tests: GRAPH,
  },
  {
    name: "attribution graph: features write to their own block alone",
    file: `${FOLDER}/sources.ts`,
    from: 'const writes = [{ hook: module.hookOut, decoder: "W_dec" }, ...module.writes];',
    to: 'const writes = [{ hook: module.hookOut, decoder: "W_dec" }];',
    tests: GRAPH,
  },
  {
    name: "attribution graph: skip connections are no paths",
    file: `${FOLDER}/linear.ts`,
    from: "  hasSkip ? `",
    to: "  hasSkip && !hasSkip ? `",
    tests: GRAPH,
  },
  {
    name: "attribution graph: features that were left out are not counted",
    file: `${FOLDER}/attribution-graph.ts`,
    from: "this.#featureRows.has(index) ? sum : sum + weight",
    to: "sum",
    tests: GRAPH,
  },
  {
    name: "attribution graph: nodes that lead nowhere stay",
    file: `${FOLDER}/influence.ts`,
    from: "if (!sources.has(index) ||",
    to: "if (",
    tests: GRAPH,
  },
];
