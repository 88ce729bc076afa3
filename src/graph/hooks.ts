/** Looks, changes and calls, put into a graph: everything after a changed value reads the changed one. */
import { CALLBACK } from "../ops/callback.ts";
import { CAPTURE } from "../ops/capture.ts";
import { EDIT } from "../ops/edit.ts";
import { GRADIENT_OF } from "../ops/gradient-of.ts";
import { makeOp, type Op, type Value } from "../ops/op.ts";
import { SEED } from "../ops/seed.ts";
import { editedValues, type Graph } from "./graph.ts";

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
  const all = editedValues(graph);
  const changed = new Map<Value, Value>();
  const current = (value: Value) => changed.get(value) ?? value;
  const ops: Op[] = [];
  for (const op of graph.ops) {
    ops.push(op.inputs.some((value) => changed.has(value)) ? { ...op, inputs: op.inputs.map(current) } : op);
    for (const value of op.outputs) {
      for (const point of [...value.points, ...(value.follows ?? [])]) {
        const edited = all.get(point) as readonly Value[];
        for (const hook of hooks.get(point) ?? []) {
          const made = opOf(hook, value, edited, current);
          if (!made) continue;
          ops.push(made);
          const [after] = made.outputs;
          if (after && hook.kind !== SEED) changed.set(value, after);
        }
      }
    }
  }
  return { ops, output: graph.output && current(graph.output) };
}

/**
 * What a hook of a point does at `value`, the point's own or one that follows it, in the state `current`; undefined where it does nothing
 * there. Edits are made at all of them, a gradient is the sum of all, and looks and calls have the point's own.
 */
function opOf(
  { kind, index }: HookOp,
  value: Value,
  edited: readonly Value[],
  current: (value: Value) => Value,
): Op | undefined {
  const before = current(value);
  const attributes = { index, headFirst: value.width === "keys" };
  const [own] = edited as [Value];
  if (kind === GRADIENT_OF) {
    const isLast = value === edited.at(-1);
    return isLast ? ({ kind, inputs: edited.map(current), outputs: [], attributes } as Op) : undefined;
  }
  if (value !== own)
    return kind === EDIT
      ? ({ kind, inputs: [before], outputs: [{ ...before }], attributes: { index, everyHead: true } } as Op)
      : undefined;
  if (kind === SEED) return makeOp<object>(SEED, [before], {}) as Op;
  const outputs = kind === CAPTURE ? [] : [{ ...before }];
  const isFollowed = kind === CALLBACK && edited.length > 1;
  return { kind, inputs: [before], outputs, attributes: isFollowed ? { ...attributes, isFollowed } : attributes } as Op;
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
