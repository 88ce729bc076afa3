/**
 * Fusion: patterns of ops that one kernel computes at once.
 *
 * Each rule looks at the last op of its pattern and at those that make its inputs. A value inside a pattern must be read by
 * the pattern alone: where somebody looks at it, changes it or needs it again, another op reads it, and the rule does not
 * fire. Rules build on one another: a matmul takes in a factor, then the addition to the residual.
 */
import { ADD } from "../ops/add.ts";
import { ATTENTION, MIX, SCORES, SOFTMAX } from "../ops/attention.ts";
import { ACTIVATION, SCALE, SOFT_CAP } from "../ops/elementwise.ts";
import { EMBED } from "../ops/embed.ts";
import { GATED } from "../ops/gated.ts";
import { HEAD_RESULTS, MATMUL, type MatmulAttributes } from "../ops/matmul.ts";
import { MULTIPLY } from "../ops/multiply.ts";
import { AFFINE, NORM, NORM_SCALE, NORMALIZE } from "../ops/norm.ts";
import type { Op, OpKind, Value } from "../ops/op.ts";
import { ROPE, ROPE_STORE } from "../ops/rope.ts";
import { STORE } from "../ops/store.ts";
import { SUM_HEADS } from "../ops/sum-heads.ts";
import { WEIGH, WEIGHED_SUM } from "../ops/weigh.ts";
import type { Graph } from "./graph.ts";

/** What a rule may ask about the ops before the one that it looks at. */
interface Before {
  /** The op of a kind that makes the value, if nobody but the looked-at op reads it. */
  inner<A>(kind: OpKind<A>, value: Value | undefined): Op<A> | undefined;
  /** The latest op of a kind so far that `matches`, if nobody has read its outputs yet. */
  unread<A>(kind: OpKind<A>, matches: (op: Op<A>) => boolean): Op<A> | undefined;
}

export interface FusionRule {
  readonly name: string;
  /** The kind of the pattern's last op. */
  readonly last: OpKind<never>;
  /** Whether the op that it makes has a vector-Jacobian product. */
  readonly isDifferentiable?: boolean;
  /** The op that takes the place of `op` and of the `consumed` ones before it. */
  match(op: Op, before: Before): { fused: Op; consumed: readonly Op[] } | undefined;
}

/** A rule for ops of one kind. */
function rule<A>(
  name: string,
  kind: OpKind<A>,
  match: (op: Op<A>, before: Before) => { fused: Op<never> | Op; consumed: readonly Op[] } | undefined,
): FusionRule {
  return { name, last: kind as OpKind<never>, match: match as unknown as FusionRule["match"] };
}

/** A rule whose op can be differentiated. */
const differentiable: typeof rule = (...parts) => ({ ...rule(...parts), isDifferentiable: true });

function made<A>(
  kind: OpKind<A>,
  inputs: readonly (Value | undefined)[],
  outputs: readonly Value[],
  attributes: A,
): Op {
  return { kind, inputs: inputs as Value[], outputs, attributes } as Op;
}

/** A matmul of one result that the looked-at op alone reads, and that is not combined with anything yet. */
function openMatmul(before: Before, value: Value | undefined) {
  const matmul = before.inner(MATMUL, value);
  return matmul && matmul.outputs.length === 1 && !matmul.attributes.combine ? matmul : undefined;
}

/** A rule by which a matmul takes in the elementwise op after it. */
function epilogue<A>(
  name: string,
  kind: OpKind<A>,
  take: (matmul: MatmulAttributes, own: A) => MatmulAttributes | undefined,
) {
  return rule(name, kind, (op, before) => {
    const matmul = openMatmul(before, op.inputs[0]);
    const attributes = matmul && take(matmul.attributes, op.attributes);
    return (
      matmul && attributes && { fused: made(MATMUL, matmul.inputs, op.outputs, attributes), consumed: [matmul as Op] }
    );
  });
}

/** A rule by which a matmul is combined with the value that `op` works on in place. */
function combining<A>(name: string, kind: OpKind<A>, combine: "add" | "multiply", fits: (own: A) => boolean) {
  return rule(name, kind, (op, before) => {
    const matmul = fits(op.attributes) ? openMatmul(before, op.inputs[1]) : undefined;
    if (!matmul) return undefined;
    const attributes = { ...matmul.attributes, combine };
    return { fused: made(MATMUL, [matmul.inputs[0], op.inputs[0]], op.outputs, attributes), consumed: [matmul as Op] };
  });
}

export const FUSION_RULES: readonly FusionRule[] = [
  differentiable("token + position embedding", ADD, ({ inputs: [x, term], outputs, attributes: { scale } }, before) => {
    const tokens = before.inner(EMBED, x);
    const positions = before.inner(EMBED, term);
    if (!tokens || !positions || tokens.attributes.positions) return undefined;
    if (scale !== 1 || positions.attributes.scale !== 1 || positions.attributes.by !== "position") return undefined;
    const attributes = { ...tokens.attributes, positions: positions.attributes };
    return { fused: made(EMBED, [], outputs, attributes), consumed: [tokens as Op, positions as Op] };
  }),
  differentiable("norm", AFFINE, ({ inputs: [normalized], outputs, attributes }, before) => {
    const normalize = before.inner(NORMALIZE, normalized);
    const scale = normalize && before.inner(NORM_SCALE, normalize.inputs[1]);
    if (!normalize || !scale) return undefined;
    const fused = made(NORM, [normalize.inputs[0]], outputs, { ...attributes, accumulate: false });
    return { fused, consumed: [scale as Op, normalize as Op] };
  }),
  rule("norm, added to the residual", ADD, ({ inputs: [x, term], outputs, attributes: { scale } }, before) => {
    const norm = scale === 1 ? before.inner(NORM, term) : undefined;
    if (!norm || norm.attributes.accumulate) return undefined;
    return {
      fused: made(NORM, [norm.inputs[0], x], outputs, { ...norm.attributes, accumulate: true }),
      consumed: [norm as Op],
    };
  }),
  differentiable(
    "heads' results, summed",
    SUM_HEADS,
    ({ inputs: [results], outputs, attributes: { bias } }, before) => {
      const heads = before.inner(HEAD_RESULTS, results);
      if (!heads) return undefined;
      const { weight, dModel } = heads.attributes;
      const attributes = { weight, bias, parts: [{ heads: 1, width: dModel }] };
      return { fused: made(MATMUL, heads.inputs, outputs, attributes), consumed: [heads as Op] };
    },
  ),
  rule("weighed, summed", SUM_HEADS, ({ inputs: [weighed], outputs, attributes: { bias } }, before) => {
    const weigh = bias ? undefined : before.inner(WEIGH, weighed);
    return weigh && { fused: made(WEIGHED_SUM, weigh.inputs, outputs, {}), consumed: [weigh as Op] };
  }),
  epilogue("matmul, scaled", SCALE, (matmul, { scale }) =>
    matmul.activation || matmul.softCap ? undefined : { ...matmul, scale: (matmul.scale ?? 1) * scale },
  ),
  epilogue("matmul, activated", ACTIVATION, (matmul, { activation }) =>
    matmul.activation || matmul.softCap ? undefined : { ...matmul, activation },
  ),
  epilogue("matmul, soft-capped", SOFT_CAP, (matmul, { softCap }) =>
    matmul.softCap ? undefined : { ...matmul, softCap },
  ),
  combining("matmul, added to the residual", ADD, "add", ({ scale }) => scale === 1),
  combining("matmul, gated", MULTIPLY, "multiply", () => true),
  // Where a matmul takes in neither the activation nor the product: before gradients, or where people look at both.
  differentiable("activation and gate", MULTIPLY, ({ inputs: [activated, x], outputs }, before) => {
    const activation = before.inner(ACTIVATION, activated);
    if (!activation) return undefined;
    const inputs = [activation.inputs[0], x];
    return { fused: made(GATED, inputs, outputs, activation.attributes), consumed: [activation as Op] };
  }),
  rule("scaled term of the residual", ADD, ({ inputs: [x, term], outputs, attributes }, before) => {
    const scaled = before.inner(SCALE, term);
    if (!scaled) return undefined;
    const scale = attributes.scale * scaled.attributes.scale;
    return { fused: made(ADD, [x, scaled.inputs[0]], outputs, { scale }), consumed: [scaled as Op] };
  }),
  differentiable("scores, softmax and mix", MIX, ({ inputs: [pattern, values], outputs, attributes }, before) => {
    const softmax = before.inner(SOFTMAX, pattern);
    const scores = softmax && before.inner(SCORES, softmax.inputs[0]);
    if (!softmax || !scores) return undefined;
    const [q, keys] = scores.inputs;
    return { fused: made(ATTENTION, [q, keys, values], outputs, attributes), consumed: [scores as Op, softmax as Op] };
  }),
  rule("rotation and store", STORE, ({ inputs: [k, v], outputs, attributes: { layer } }, before) => {
    const rotatedKeys = before.inner(ROPE, k);
    const rotatedQueries = before.unread(ROPE, (op) => op.attributes.layer === layer && op !== rotatedKeys);
    if (!rotatedKeys || !rotatedQueries) return undefined;
    const inputs = [rotatedQueries.inputs[0], rotatedKeys.inputs[0], v];
    return {
      fused: made(ROPE_STORE, inputs, [rotatedQueries.outputs[0] as Value, ...outputs], rotatedKeys.attributes),
      consumed: [rotatedQueries as Op, rotatedKeys as Op],
    };
  }),
  rule("rotations back", ROPE, ({ inputs: [q, second], outputs, attributes }, before) => {
    if (!attributes.inverse || second) return undefined;
    const keys = before.unread(ROPE, (op) => op.attributes.layer === attributes.layer && op.inputs.length === 1);
    if (!keys) return undefined;
    const fused = made(ROPE, [q, keys.inputs[0]], [...outputs, ...keys.outputs], attributes);
    return { fused, consumed: [keys as Op] };
  }),
  rule("projection and store", STORE, ({ inputs: [k, v], outputs, attributes: { layer } }, before) => {
    const matmul = before.inner(MATMUL, k);
    const isOne = matmul && matmul === before.inner(MATMUL, v) && matmul.outputs.length === 3;
    if (!isOne || !before.unread(MATMUL, (op) => op === matmul)) return undefined;
    const fused = made(MATMUL, matmul.inputs, [matmul.outputs[0] as Value, ...outputs], {
      ...matmul.attributes,
      storeIn: layer,
    });
    return { fused, consumed: [matmul as Op] };
  }),
];

/**
 * Rules that apply before a graph is differentiated: the kinds that they make have a vector-Jacobian product of their own,
 * which is cheaper than those of their parts. The others take in what the backward pass reads, or change it.
 */
export const rulesBeforeGradients = (rules: readonly FusionRule[]) =>
  rules.filter(({ isDifferentiable }) => isDifferentiable);

export function fuse(graph: Graph, rules: readonly FusionRule[] = FUSION_RULES): Graph {
  const uses = new Map<Value, number>();
  const count = (values: readonly Value[], by: 1 | -1) => {
    for (const value of values) uses.set(value, (uses.get(value) ?? 0) + by);
  };
  for (const op of graph.ops) count(op.inputs, 1);
  if (graph.output) count([graph.output], 1);
  const makers = new Map<Value, Op>();
  const done = new Set<Op>();
  const read = new Set<Value>();
  const before: Before = {
    inner<A>(kind: OpKind<A>, value: Value | undefined) {
      const maker = value && uses.get(value) === 1 ? makers.get(value) : undefined;
      return maker?.kind === kind ? (maker as Op<A>) : undefined;
    },
    unread<A>(kind: OpKind<A>, matches: (op: Op<A>) => boolean) {
      for (const op of [...done].reverse()) {
        if (op.kind !== kind || !matches(op as Op<A>)) continue;
        return op.outputs.some((value) => read.has(value)) ? undefined : (op as Op<A>);
      }
      return undefined;
    },
  };
  for (const op of graph.ops) {
    let current = op;
    for (let index = 0; index < rules.length; ) {
      const { last, match: matches } = rules[index] as FusionRule;
      const match = current.kind === last ? matches(current, before) : undefined;
      index = match ? 0 : index + 1;
      if (!match) continue;
      for (const replaced of [...match.consumed, current]) {
        count(replaced.inputs, -1);
        done.delete(replaced);
      }
      count(match.fused.inputs, 1);
      current = match.fused;
    }
    done.add(current);
    for (const value of current.outputs) makers.set(value, current);
    for (const value of current.inputs) read.add(value);
  }
  return { ops: [...done], output: graph.output };
}
