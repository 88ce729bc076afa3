/** A graph computed by the plain references of its ops, in float64: what the dispatches are checked against. */
import type { Op, ReferenceCall, ReferencePass, RowSet, Value } from "../ops/op.ts";
import type { RowTable } from "../ops/rows.ts";
import type { Graph } from "./graph.ts";

export interface Evaluation {
  readonly rows: RowTable;
  /** Rows of `output` and of `picked`, where the graph has such. */
  readonly outputRows?: readonly number[];
  readonly picked?: readonly number[];
  readonly weight: ReferenceCall<unknown>["weight"];
  readonly pass: ReferencePass;
  /** Takes what ops give to the gradients of weights. */
  readonly addGradient?: ReferenceCall<unknown>["addGradient"];
  /** Called with each value as soon as it is there; may change it. */
  readonly visit?: (value: Value, numbers: Float64Array, rows: RowTable) => void;
}

/** Every value of the graph, [row, head, width]. Rows that join, captures and callbacks have no reference. */
export function evaluate(graph: Graph, evaluation: Evaluation): Map<Value, Float64Array> {
  const values = new Map<Value, Float64Array>();
  const tables = rowTables(evaluation);
  const keyCount =
    1 + Math.max(...Array.from({ length: evaluation.rows.count }, (_, row) => evaluation.rows.position(row)));
  const shapeOf = ({ heads, width }: Value) => ({ heads, width: width === "keys" ? keyCount : width });
  for (const op of graph.ops) {
    const rows = tables((op.outputs[0] ?? op.inputs[0])?.rows as RowSet);
    const results = referenceOf(op)({
      attributes: op.attributes,
      inputs: op.inputs.map((value) => values.get(value) as Float64Array),
      inputShapes: op.inputs.map(shapeOf),
      inputRows: op.inputs.map((value) => tables(value.rows)),
      outputShapes: op.outputs.map(shapeOf),
      rows,
      weight: evaluation.weight,
      addGradient: evaluation.addGradient ?? (() => undefined),
      pass: evaluation.pass,
    });
    op.outputs.forEach((value, index) => {
      const numbers = Float64Array.from(results[index] as Float64Array);
      evaluation.visit?.(value, numbers, rows);
      values.set(value, numbers);
    });
  }
  return values;
}

function referenceOf({ kind }: Op): NonNullable<Op["kind"]["reference"]> {
  if (!kind.reference) throw new TypeError(`Ops of the kind ${kind.name} have no reference.`);
  return (call) => kind.reference?.(call) as readonly Float64Array[];
}

function rowTables({ rows, outputRows, picked }: Evaluation): (set: RowSet) => RowTable {
  const output = outputRows ? rows.select(outputRows) : rows;
  const unembedded = picked ? output.select(picked) : output;
  return (set) => (set === "output" ? output : set === "picked" ? unembedded : rows);
}
