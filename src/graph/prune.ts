/** What nobody reads is not computed: ops without an effect whose outputs lead nowhere. */
import type { Op, Value } from "../ops/op.ts";
import type { Graph } from "./graph.ts";

export function prune(graph: Graph): Graph {
  const needed = new Set<Value>(graph.output ? [graph.output] : []);
  const kept: Op[] = [];
  for (const op of [...graph.ops].reverse()) {
    if (!op.kind.hasEffect && !op.outputs.some((value) => needed.has(value))) continue;
    kept.push(op);
    for (const value of op.inputs) needed.add(value);
  }
  return { ops: kept.reverse(), output: graph.output };
}
