/** Looks, changes and calls, put into a graph: everything after a changed value reads the changed one. */
import { CALLBACK } from "../ops/callback.ts";
import { CAPTURE } from "../ops/capture.ts";
import { EDIT } from "../ops/edit.ts";
import { GRADIENT_OF } from "../ops/gradient-of.ts";
import { makeOp, type Op, type Value } from "../ops/op.ts";
import { SEED } from "../ops/seed.ts";
import type { Graph } from "./graph.ts";

/** The points of a pass where something happens, in order; the n-th entry of each list is the n-th of the pass's hooks. */
export interface HookPoints {
  readonly edits: readonly string[];
  readonly callbacks: readonly string[];
  readonly captures: readonly { readonly name: string; readonly ofGradient?: boolean | undefined }[];
  /** Where the backward pass begins; at the logits when absent. */
  readonly seedAt?: string | undefined;
}

/**
 * At each point edits come first, in order, then callbacks, then captures: a capture shows the activation as the rest of the
 * model sees it. The seed of a backward pass is last.
 */
export function insertHooks(graph: Graph, points: HookPoints): Graph {
  const hooks = hooksByPoint(points);
  if (hooks.size === 0) return graph;
  const changed = new Map<Value, Value>();
  const current = (value: Value) => changed.get(value) ?? value;
  const ops: Op[] = [];
  for (const op of graph.ops) {
    ops.push(op.inputs.some((value) => changed.has(value)) ? { ...op, inputs: op.inputs.map(current) } : op);
    for (const value of op.outputs) {
      for (const { kind, index } of value.points.flatMap((point) => hooks.get(point) ?? [])) {
        const before = current(value);
        if (kind === SEED) {
          ops.push(makeOp<object>(SEED, [before], {}) as Op);
          continue;
        }
        const attributes = { index, headFirst: value.width === "keys" };
        const after = kind === CAPTURE || kind === GRADIENT_OF ? undefined : { ...before };
        ops.push({ kind, inputs: [before], outputs: after ? [after] : [], attributes } as Op);
        if (after) changed.set(value, after);
      }
    }
  }
  return { ops, output: graph.output && current(graph.output) };
}

interface HookOp {
  readonly kind: typeof EDIT | typeof CALLBACK | typeof CAPTURE | typeof GRADIENT_OF | typeof SEED;
  readonly index: number;
}

/** What happens at each point, in order. */
function hooksByPoint({ edits, callbacks, captures, seedAt }: HookPoints): Map<string, HookOp[]> {
  const hooks = new Map<string, HookOp[]>();
  const put = (point: string, hook: HookOp) => hooks.set(point, [...(hooks.get(point) ?? []), hook]);
  for (const [index, point] of edits.entries()) put(point, { kind: EDIT, index });
  for (const [index, point] of callbacks.entries()) put(point, { kind: CALLBACK, index });
  for (const [index, { name, ofGradient }] of captures.entries()) {
    put(name, { kind: ofGradient ? GRADIENT_OF : CAPTURE, index });
  }
  if (seedAt !== undefined) put(seedAt, { kind: SEED, index: 0 });
  return hooks;
}
