/**
 * Rotary position embedding of queries and keys in place (Su et al. 2021, arXiv 2104.09864), and the same with the store of
 * keys and values in one step.
 */
import type { Tensor } from "../gpu/tensor.ts";
import { type Rotation, rope, ropeStore, storeKv } from "../kernels/heads.ts";
import { areAdjacent, type View } from "../kernels/view.ts";
import { rotated } from "./attention-reference.ts";
import { type Bindings, cacheBuffers } from "./bindings.ts";
import { defineOp, type Lowering, type OpKind, type ReferenceCall, type Value } from "./op.ts";

export interface RopeAttributes {
  readonly layer: number;
  /** Index into the spec's ropes. */
  readonly rope: number;
  readonly rotaryDim: number;
  readonly style: "half" | "interleaved";
  /** Turns back: the gradient of what was rotated. */
  readonly inverse?: boolean;
}

function turn(call: ReferenceCall<RopeAttributes>, index: number): Float64Array {
  const { rope: table, rotaryDim, style, inverse } = call.attributes;
  const x = call.inputs[index] as Float64Array;
  const { heads, width } = call.inputShapes[index] as { heads: number; width: number };
  const out = new Float64Array(x.length);
  for (let at = 0; at < x.length; at += width) {
    const position = call.rows.position((at / width / heads) | 0);
    const forward = call.pass.ropeTables[table] as Float32Array;
    const angles = inverse ? forward.map((value, i) => (i % 2 === 1 ? -value : value)) : forward;
    out.set(rotated(x.slice(at, at + width), angles, position, rotaryDim / 2, style), at);
  }
  return out;
}

/** What lies side by side turns in one step. */
function lowerRope(call: Lowering<RopeAttributes>, views: readonly View[]): void {
  const { recorder, attributes, rows, rowTable, bindings } = call;
  const rotation = rotationOf(attributes, rowTable, bindings);
  const cache = cacheBuffers(bindings, attributes.layer);
  const heads = views.reduce((sum, view) => sum + view.heads, 0);
  const asOne = areAdjacent(views) ? [{ ...(views[0] as View), heads }] : views;
  for (const view of asOne) rope(recorder, view, rows.count, rotation, cache);
}

function rotationOf(attributes: RopeAttributes, rowTable: Tensor, { ropeTables }: Bindings): Rotation {
  const { rope, rotaryDim, style, inverse = false } = attributes;
  return { rowTable, table: ropeTables[rope] as Tensor, rotaryDim, style, inverse };
}

/** Of queries or keys; by fusion, of the gradients of both. */
export const ROPE: OpKind<RopeAttributes> = defineOp<RopeAttributes>({
  name: "rope",
  formula: "RoPE(x, position)",
  shapes: (inputs) => inputs,
  inPlace: () => [0, 1],
  writesViews: true,
  reference: (call) => call.inputs.map((_, index) => turn(call, index)),
  // The transpose of a rotation turns back; of one that is scaled as well (yarn), by the same factor.
  vjp: ({ op: { attributes }, grads, sink }) => [sink.one(ROPE, grads as [Value], { ...attributes, inverse: true })],
  lower(call) {
    lowerRope(call, call.outputs);
  },
});

/** q, k, v to q rotated, and keys and values in the cache. Made by fusion. */
export const ROPE_STORE = defineOp<RopeAttributes>({
  name: "ropeStore",
  formula: "RoPE(q), store(RoPE(k), v)",
  shapes: (inputs) => inputs,
  inPlace: () => [0],
  hasEffect: true,
  reference: (call) => [turn(call, 0), turn(call, 1), call.inputs[2] as Float64Array],
  lower(call) {
    const { recorder, attributes, inputs, rows, rowTable, bindings } = call;
    const [q, k, v] = inputs as [View, View, View];
    const cache = cacheBuffers(bindings, attributes.layer);
    if (areAdjacent([q, k, v])) {
      ropeStore(recorder, q, k.heads, rows.count, rotationOf(attributes, rowTable, bindings), cache);
      return;
    }
    lowerRope(call, [q, k]);
    storeKv(recorder, rowTable, rows.count, k, v, cache);
  },
});
