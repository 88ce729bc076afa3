/** An attribution graph, as it is given to people. */
import { HookError } from "../../errors.ts";
import * as s from "../../schema/schema.ts";
import { type CircuitTracerGraph, type CircuitTracerOptions, toCircuitTracer } from "./circuit-tracer.ts";
import { type Pruned, prune } from "./influence.ts";
import {
  type AttributionEdge,
  type AttributionNode,
  type GraphParts,
  PRUNE_OPTIONS,
  type PruneOptions,
} from "./nodes.ts";

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
