/**
 * A forward pass as a value: its ops in the order in which they run, and the value that it is run for.
 *
 *   trace(spec, form) -> insertHooks -> prune -> fuse -> place -> lower
 *
 * The model's tracing makes a graph of a `ModelSpec`; captures, edits and callbacks are put in as ops; what nobody needs is
 * left out; patterns become the kernels that compute them at once; every value gets a place in memory; and a recorder gets
 * the dispatches. All but the last step depend on the form of a pass alone and are kept for the next one of that form.
 */
import { makeOp, type Op, type OpKind, type OpPlace, type OpSink, type RowSet, type Value } from "../ops/op.ts";

export interface Graph {
  readonly ops: readonly Op[];
  /** The logits, which go to a tensor that the pass supplies; undefined when it is run for its effects alone. */
  readonly output: Value | undefined;
}

/** The values that people may look at, by the names of their points, in the order of the pass. */
export function pointsOf({ ops }: Graph): Map<string, Value> {
  const points = new Map<string, Value>();
  for (const { outputs } of ops) {
    for (const value of outputs) for (const point of value.points) points.set(point, value);
  }
  return points;
}

/** The same, each point's value first and then those that follow it: what an edit of the point changes. */
export function editedValues(graph: Graph): Map<string, readonly Value[]> {
  const values = new Map([...pointsOf(graph)].map(([point, value]) => [point, [value]]));
  for (const { outputs } of graph.ops) {
    for (const value of outputs) for (const point of value.follows ?? []) values.get(point)?.push(value);
  }
  return values;
}

/** Collects the ops of a graph as they are made. */
export class GraphBuilder implements OpSink {
  readonly ops: Op[] = [];
  /** The block whose ops are being made; see `Value.layer`. */
  layer = 0;

  /** Adds an op; `points` name its outputs. */
  add<A>(kind: OpKind<A>, inputs: readonly Value[], attributes: A, place: OpPlace = {}): readonly Value[] {
    const op = makeOp(kind, inputs, attributes, { ...place, layer: this.layer });
    this.ops.push(op as Op);
    return op.outputs;
  }

  /** The same for kinds with one output; rows are those of the first input unless told. */
  one<A>(kind: OpKind<A>, inputs: readonly Value[], attributes: A, point?: string, rows?: RowSet): Value {
    return this.add(kind, inputs, attributes, { points: [point ? [point] : []], rows })[0] as Value;
  }

  /** Another name of a value, after those that it has. */
  name(value: Value, point: string): void {
    (value.points as string[]).push(point);
  }

  /** Lets edits of a point be made at a value as well; see `Value.follows`. */
  follow(value: Value, point: string): void {
    (value as { follows?: readonly string[] }).follows = [...(value.follows ?? []), point];
  }
}
