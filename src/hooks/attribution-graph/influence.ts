/**
 * Which nodes and edges of a graph matter to its logits. An edge counts as its share of all edges into the same target, by size
 * (Ameisen et al. 2025, "Pruning"); a node's influence is the sum over all paths to the logits of the products of these shares,
 * weighed by the logits' probabilities.
 */
import type { AttributionEdge, AttributionNode, PruneOptions } from "./nodes.ts";

/** For each target the weights of the edges from all nodes. */
export type Rows = ReadonlyMap<number, Float32Array>;

/** A part of a graph: indices of its nodes, and edges between them. */
export interface Pruned {
  readonly nodes: readonly number[];
  readonly edges: readonly AttributionEdge[];
  /**
   * Of every node of the whole graph: the share of all influence that it and the nodes with more have together. So
   * the nodes with at most x are about those that a threshold of x keeps.
   */
  readonly influence: Float64Array;
}

/** What targets weigh before anything flows back: the probabilities of logits. */
export function logitWeights(nodes: readonly AttributionNode[]): Float64Array {
  return Float64Array.from(nodes, (node) => (node.kind === "logit" ? node.probability : 0));
}

/** The sum of sizes of a row, of 1e-10 at least; its shares are the sizes over this. */
function sizeOf(row: Float32Array): number {
  let sum = 0;
  for (const weight of row) sum += Math.abs(weight);
  return Math.max(sum, 1e-10);
}

/** Influence of each node on the logits: w A + w A² + …, with the shares A [target, source]. Edges go forward, so that it ends. */
export function influenceOf(rows: Rows, weights: Float64Array): Float64Array {
  const sizes = new Map([...rows].map(([target, row]) => [target, sizeOf(row)]));
  const total = new Float64Array(weights.length);
  let flow = weights;
  while (flow.some((value) => value !== 0)) {
    const next = new Float64Array(weights.length);
    for (const [target, row] of rows) {
      const factor = (flow[target] as number) / (sizes.get(target) as number);
      if (factor === 0) continue;
      for (let source = 0; source < row.length; source++)
        next[source] = (next[source] as number) + factor * Math.abs(row[source] as number);
    }
    for (let node = 0; node < total.length; node++) total[node] = (total[node] as number) + (next[node] as number);
    flow = next;
  }
  return total;
}

/** The least of the largest scores that make up a share of them all. */
function leastKept(scores: Float64Array, share: number): number {
  const falling = Float64Array.from(scores).sort().reverse();
  const total = falling.reduce((sum, score) => sum + score, 0);
  let sum = 0;
  for (const score of falling) {
    sum += score;
    if (sum / total >= share) return score;
  }
  return falling.at(-1) ?? 0;
}

/** Keeps the nodes and edges that make up the shares; tokens and logits stay, and what is on no path goes. */
export function prune(
  nodes: readonly AttributionNode[],
  rows: Rows,
  { nodeThreshold, edgeThreshold }: Required<PruneOptions>,
): Pruned {
  const weights = logitWeights(nodes);
  const influence = influenceOf(rows, weights);
  const least = leastKept(influence, nodeThreshold);
  const isEnd = ({ kind }: AttributionNode) => kind === "token" || kind === "logit";
  const kept = nodes.map((node, index) => isEnd(node) || (influence[index] as number) >= least);
  const among = new Map(
    [...rows].flatMap(([target, row]) =>
      kept[target] ? [[target, row.map((weight, i) => (kept[i] ? weight : 0))]] : [],
    ),
  ) as Map<number, Float32Array>;
  let edges = strongest(among, weights, edgeThreshold);
  for (let before = -1; before !== edges.length; ) {
    before = edges.length;
    const [sources, targets] = [new Set(edges.map(({ source }) => source)), new Set(edges.map(({ target }) => target))];
    nodes.forEach((node, index) => {
      if (isEnd(node)) return;
      if (!sources.has(index) || (node.kind === "feature" && !targets.has(index))) kept[index] = false;
    });
    edges = edges.filter(({ source, target }) => kept[source] && kept[target]);
  }
  const indices = [...kept.keys()].filter((index) => kept[index]);
  return { nodes: indices, edges, influence: cumulated(influence) };
}

/** The edges that make up a share of the influence of all: each its own share times what its target weighs. */
function strongest(rows: Rows, weights: Float64Array, threshold: number): AttributionEdge[] {
  const influence = influenceOf(rows, weights);
  const edges: AttributionEdge[] = [];
  const scores: number[] = [];
  for (const [target, row] of rows) {
    const factor = ((influence[target] as number) + (weights[target] as number)) / sizeOf(row);
    row.forEach((weight, source) => {
      if (weight === 0) return;
      edges.push({ source, target, weight });
      scores.push(factor * Math.abs(weight));
    });
  }
  const least = leastKept(Float64Array.from(scores), threshold);
  return edges.filter((_, index) => (scores[index] as number) >= least);
}

function cumulated(influence: Float64Array): Float64Array {
  const order = [...influence.keys()].sort((a, b) => (influence[b] as number) - (influence[a] as number));
  const total = influence.reduce((sum, value) => sum + value, 0);
  const shares = new Float64Array(influence.length);
  let sum = 0;
  for (const index of order) {
    sum += influence[index] as number;
    shares[index] = sum / total;
  }
  return shares;
}
