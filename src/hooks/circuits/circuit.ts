/**
 * A circuit: the edges of a graph that matter most, joined up.
 *
 * `top-n` takes the largest scores wherever they are; `greedy` goes backwards from the logits and always adds the largest edge into what
 * it has, so that every edge leads to the logits (Hanna et al. 2024, arXiv 2403.17806). What then leads nowhere, or comes from
 * nowhere, is left out.
 */
import { HookError } from "../../errors.ts";
import * as s from "../../schema/schema.ts";
import { CIRCUIT_GRAPH, type CircuitEdge, type CircuitGraph } from "./circuit-graph.ts";

/** Options of `circuit`. */
export interface CircuitOptions {
  /** How edges are chosen. Default "greedy". */
  method?: "top-n" | "greedy";
}

export const CIRCUIT_OPTIONS = s.object<CircuitOptions>("the options of circuit", {
  method: s.oneOf("top-n", "greedy"),
} satisfies s.Fields<CircuitOptions>);

/**
 * The graph with `n` edges, chosen by the size of their scores, as its circuit; fewer once those that dangle are pruned.
 * @throws HookError `hook/circuit-size` for more edges than there are, `hook/circuit-scores` for scores that choose none
 */
export function circuit(graph: CircuitGraph, n: number, options: CircuitOptions = {}): CircuitGraph {
  s.readArgument(CIRCUIT_GRAPH, graph, "circuit", "graph");
  s.readArgument(s.wholeFrom(0), n, "circuit", "n");
  const { method = "greedy" } = s.readOptions(CIRCUIT_OPTIONS, options, "circuit");
  if (n > graph.edges.size)
    throw new HookError("hook/circuit-size", `The graph has ${graph.edges.size} edges; a circuit cannot have ${n}.`);
  const scores = [...graph.edges.values()].map(({ score }) => score);
  const unusable = scores.some((score) => !Number.isFinite(score))
    ? "holds scores that are no finite numbers"
    : n > 0 && n < scores.length && scores.every((score) => score === 0)
      ? "has no scores yet, or all of them are 0"
      : undefined;
  if (unusable)
    throw new HookError(
      "hook/circuit-scores",
      `The graph ${unusable}, so no edge counts more than another. Score it with edgeAttribution().`,
    );
  const bySize = [...graph.edges.values()].sort((a, b) => Math.abs(b.score) - Math.abs(a.score));
  return pruned(graph, method === "top-n" ? bySize.slice(0, n) : greedy(bySize, n));
}

/** The largest edge into what is reached already, `n` times. */
function greedy(bySize: readonly CircuitEdge[], n: number): CircuitEdge[] {
  const reached = new Set(["logits"]);
  const left = [...bySize];
  const chosen: CircuitEdge[] = [];
  while (chosen.length < n) {
    const next = left.findIndex(({ targets }) => targets.some((name) => reached.has(name)));
    const [edge] = left.splice(next, 1) as [CircuitEdge];
    chosen.push(edge);
    reached.add(edge.source);
  }
  return chosen;
}

/** Leaves out nodes that nothing enters or that lead nowhere, and their edges, until all are joined. */
function pruned(graph: CircuitGraph, chosen: readonly CircuitEdge[]): CircuitGraph {
  let edges = chosen;
  for (;;) {
    const entered = new Set(["input", ...edges.flatMap(({ targets }) => targets)]);
    const left = new Set(["logits", ...edges.map(({ source }) => source)]);
    const kept = edges.filter(({ source, targets }) => entered.has(source) && targets.some((name) => left.has(name)));
    if (kept.length === edges.length) break;
    edges = kept;
  }
  const nodes = new Set(["logits", ...edges.map(({ source }) => source)]);
  return graph.withCircuit(nodes, new Set(edges.map(({ name }) => name)));
}
