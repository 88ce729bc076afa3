/** Looks, changes and calls, put into a graph: everything after a changed value reads the changed one. */
import { CALLBACK } from "../ops/callback.ts";
import { CAPTURE } from "../ops/capture.ts";
import { EDIT } from "../ops/edit.ts";
import { makeOp, type Op, type Value } from "../ops/op.ts";
import type { Graph } from "./graph.ts";

/** The points of a pass where something happens, in order; the n-th entry of each list is the n-th of the pass's hooks. */
export interface HookPoints {
  readonly edits: readonly string[];
  readonly callbacks: readonly string[];
  readonly captures: readonly string[];
}

/**
 * At each point edits come first, in order, then callbacks, then captures: a capture shows the activation as the rest of the
 * model sees it.
 */
export function insertHooks(graph: Graph, { edits, callbacks, captures }: HookPoints): Graph {
  const changed = new Map<Value, Value>();
  const current = (value: Value) => changed.get(value) ?? value;
  const ops: Op[] = [];
  for (const op of graph.ops) {
    ops.push(op.inputs.some((value) => changed.has(value)) ? { ...op, inputs: op.inputs.map(current) } : op);
    for (const value of op.outputs) {
      const headFirst = value.width === "keys";
      const change = (kind: typeof EDIT | typeof CALLBACK, index: number) => {
        const before = current(value);
        const after = { ...before };
        ops.push({ kind, inputs: [before], outputs: [after], attributes: { index, headFirst } } as Op);
        changed.set(value, after);
      };
      for (const point of value.points) {
        for (const index of indicesOf(edits, point)) change(EDIT, index);
        for (const index of indicesOf(callbacks, point)) change(CALLBACK, index);
        for (const index of indicesOf(captures, point)) {
          ops.push(makeOp(CAPTURE, [current(value)], { index, headFirst }) as Op);
        }
      }
    }
  }
  return { ops, output: graph.output && current(graph.output) };
}

function indicesOf(points: readonly string[], point: string): number[] {
  return points.flatMap((each, index) => (each === point ? [index] : []));
}
