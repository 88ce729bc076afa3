/** Attention as ops: queries, keys and values of what a block reads, the cache between, and what heads make of them. */
import { InputError } from "../errors.ts";
import { MIX, SCORES, SOFTMAX } from "../ops/attention.ts";
import type { AttentionAttributes } from "../ops/attention-call.ts";
import { CLAMP } from "../ops/clamp.ts";
import { COPY } from "../ops/copy.ts";
import { HEAD_PROJECTION } from "../ops/head-inputs.ts";
import { JOIN_HEADS, SPLIT_HEADS } from "../ops/head-parts.ts";
import { HEAD_RESULTS, MATMUL } from "../ops/matmul.ts";
import type { Shape, Value } from "../ops/op.ts";
import { POSITION_SCALE } from "../ops/position-scale.ts";
import { QK_NORM } from "../ops/qk-norm.ts";
import { ROPE } from "../ops/rope.ts";
import { STORE } from "../ops/store.ts";
import { SUM_HEADS } from "../ops/sum-heads.ts";
import { isCausal } from "./causality.ts";
import type { LatentSpec, LayerSpec, RopeSpec } from "./spec.ts";
import type { BlockBuilder } from "./trace-builder.ts";
import { withoutWeights } from "./trace-builder.ts";
import { attentionWidth, dHeadOf, dValueOf, nKvHeadsOf, normsQkIn, ownsKeys, projectsValues } from "./weights/table.ts";

/** Queries, and keys and values in the cache, all as wide: projected, normed and rotated. */
export function projections(b: BlockBuilder, residual: Value, x: Value): { q: Value; keys: Value; values: Value } {
  const { layer } = b;
  const { queryScale } = b.spec.layers[layer] as LayerSpec;
  const { latent } = b.spec.attention;
  const [turned, k, v] = latent ? latentHeads(b, x, latent) : heads(b, residual, x);
  const q = widened(b, queryScale ? b.one(POSITION_SCALE, [turned], queryScale) : turned);
  if (k && v) {
    const own = [widened(b, k), widened(b, v)];
    const [keys, values] = b.add(STORE, own, { layer }, { isCached: true }) as [Value, Value];
    b.stored[layer] = { keys, values };
  }
  return { q, ...storedOf(b, cacheLayer(b)) };
}

/**
 * Queries, keys and values [row, heads, dHead or dValue] of what attention reads, or of the copies of the residual that heads have: those
 * of them that the block makes.
 */
function projectQkv(b: BlockBuilder, residual: Value, x: Value): readonly [q: Value, k?: Value, v?: Value] {
  const { spec, layer } = b;
  const [dHead, kvHeads] = [dHeadOf(spec, layer), nKvHeadsOf(spec, layer)];
  const names = ["q", ...(ownsKeys(spec, layer) ? ["k"] : []), ...(projectsValues(spec, layer) ? ["v"] : [])];
  const parts = names.map((name) => ({
    heads: name === "q" ? spec.nHeads : kvHeads,
    width: name === "v" ? dValueOf(spec, layer) : dHead,
  }));
  const weights = { weight: b.weight("qkv"), bias: b.weight("qkvBias"), parts };
  const readers = names.map((name, part) => ({
    point: b.at(`attn.hook_${name}`),
    input: b.copied(residual, `hook_${name}_input`, (parts[part] as { heads: number }).heads),
  }));
  const points = readers.map(({ point, input }) => (input === residual ? [point] : []));
  const together = b.add(MATMUL, [x], weights, { points });
  return readers.map(({ point, input }, part) => {
    if (input === residual) return together[part] as Value;
    const normed = b.inputNorm(input, "ln1", true);
    b.follow(normed, b.at("attn.hook_in"));
    return b.one(HEAD_PROJECTION, [normed], { ...weights, part }, point);
  }) as [Value, Value?, Value?];
}

/** Queries, and the keys and values that the block makes, of a projection each: normed and rotated. */
function heads(b: BlockBuilder, residual: Value, x: Value): readonly [q: Value, k?: Value, v?: Value] {
  const { clamp, vNorm } = b.spec.attention;
  const projected = projectQkv(b, residual, x);
  const [q, k, ownV] = projected.map((each) =>
    each && clamp !== undefined ? b.one(CLAMP, [each], { least: -clamp, most: clamp }) : each,
  ) as [Value, Value?, Value?];
  // A copy of the keys may be looked at and changed as values.
  let v = ownV ?? (k && b.one(COPY, [k], {}, b.at("attn.hook_v")));
  if (v && vNorm && vNorm.kind !== "none")
    v = b.one(QK_NORM, [v], { spec: withoutWeights(vNorm), over: "head", weights: b.weight("vNorm") });
  const [turnedQ, turnedK] = turned(b, q, k);
  return [turnedQ, turnedK, v];
}

/** The block whose keys and values attention of this one reads. */
function cacheLayer(b: BlockBuilder): number {
  return b.spec.layers[b.layer]?.keysFrom ?? b.layer;
}

function storedOf(b: BlockBuilder, layer: number): { keys: Value; values: Value } {
  const stored = b.stored[layer];
  if (stored) return stored;
  throw new InputError(
    "input/start-layer",
    `Block ${b.layer} reads the keys and values of block ${layer}, before which no pass may start. Lower startAtLayer to ${layer}.`,
  );
}

/** Queries and keys, if there are some, normed and rotated. */
function turned(b: BlockBuilder, q: Value, k: Value | undefined): [Value, Value | undefined] {
  const { qkNormAfterRope } = b.spec.attention;
  const steps = [normedHeads, rotated];
  return (qkNormAfterRope ? steps.reverse() : steps).reduce(
    ([q, k]: [Value, Value | undefined], step) => step(b, q, k),
    [q, k],
  );
}

/** Queries and keys through RoPE, in layers that have it. */
function rotated(b: BlockBuilder, q: Value, k: Value | undefined): [Value, Value | undefined] {
  const { rope = null } = b.spec.layers[b.layer] as LayerSpec;
  if (rope === null) return [q, k];
  const { rotaryDim, style } = b.spec.ropes[rope] as RopeSpec;
  const attributes = { layer: cacheLayer(b), rope, rotaryDim, style };
  return [
    b.one(ROPE, [q], attributes, b.at("attn.hook_rot_q")),
    k && b.one(ROPE, [k], attributes, b.at("attn.hook_rot_k")),
  ];
}

/** Queries, keys and values by way of latent vectors, as `LatentSpec` describes it. */
function latentHeads(
  b: BlockBuilder,
  x: Value,
  { dKv, dQ, dRope, norm }: LatentSpec,
): readonly [q: Value, k: Value, v: Value] {
  const { nHeads: heads, dHead } = b.spec;
  const dNope = dHead - dRope;
  const project = (input: Value, name: string, parts: readonly Shape[], bias = name.replace("W_", "b_")) =>
    b.add(MATMUL, [input], { weight: b.weight(name), bias: b.weight(bias), parts });
  const latent = (which: "q" | "kv", width: number) => {
    const [down] = project(x, `W_D${which.toUpperCase()}`, [{ heads: 1, width }]) as [Value];
    const normed = b.norm(down, b.weight(`${which}LatentNorm`), undefined, false, withoutWeights(norm));
    b.name(normed, b.at(`attn.hook_${which}_latent`));
    return normed;
  };
  const whole = [{ heads, width: dHead }];
  const [raw] = (dQ === undefined ? project(x, "qkv", whole, "qkvBias") : project(latent("q", dQ), "W_UQ", whole)) as [
    Value,
  ];
  const upParts = [dNope, dValueOf(b.spec, b.layer)].map((width) => ({ heads, width }));
  const [keyPart, v] = project(latent("kv", dKv), "kvUp", upParts, "kvUpBias") as [Value, Value];
  const [turning] = project(x, "W_KR", [{ heads: 1, width: dRope }]) as [Value];
  const parts = [dNope, dRope].map((size) => ({ size, isGiven: true }));
  const [queryPart, turningQuery] = b.add(SPLIT_HEADS, [raw], { parts }) as [Value, Value];
  const [turnedQuery, turnedKey] = rotated(b, turningQuery, turning);
  const joined = (name: string, inputs: readonly Value[]) =>
    b.one(JOIN_HEADS, inputs, { heads, parts }, b.at(`attn.hook_${name}`));
  const [q, k] = [joined("q", [queryPart, turnedQuery]), joined("k", [keyPart, turnedKey as Value])];
  b.name(v, b.at("attn.hook_v"));
  return [q, k, v];
}

/** Heads as wide as attention computes with, in rows that begin at multiples of four: beside odd values those of a projection do not. */
function widened(b: BlockBuilder, x: Value): Value {
  const own = x.width as number;
  const zeros = attentionWidth(b.spec, b.layer) - own;
  if (zeros === 0 && dValueOf(b.spec, b.layer) % 4 === 0) return x;
  const given = { size: own, isGiven: true };
  const parts = zeros === 0 ? [given] : [given, { size: zeros, isGiven: false }];
  return b.one(JOIN_HEADS, [x], { heads: x.heads, parts });
}

/** What heads give, without the zeros that values were widened with. */
function narrowed(b: BlockBuilder, z: Value): Value {
  const own = dValueOf(b.spec, b.layer);
  const zeros = (z.width as number) - own;
  if (zeros === 0) return z;
  const parts = [
    { size: own, isGiven: true },
    { size: zeros, isGiven: false },
  ];
  return b.one(SPLIT_HEADS, [z], { parts });
}

/** Queries and keys through their norm, where they have one. */
function normedHeads(b: BlockBuilder, q: Value, k: Value | undefined): [Value, Value | undefined] {
  const { qkNorm: over, qkNormSpec } = b.spec.attention;
  if (!normsQkIn(b.spec, b.layer) || over === "none" || qkNormSpec.kind === "none") return [q, k];
  const norm = { spec: withoutWeights(qkNormSpec), over };
  return [
    b.one(QK_NORM, [q], { ...norm, weights: b.weight("qNorm") }),
    k && b.one(QK_NORM, [k], { ...norm, weights: b.weight("kNorm") }),
  ];
}

/** Queries to what attention makes of them, [row, dModel], before post-norm and multiplier. */
export function attention(b: BlockBuilder, q: Value, keys: Value, values: Value): Value {
  const { spec, layer } = b;
  const settings = spec.layers[layer] as LayerSpec;
  const { nHeads, dModel } = spec;
  const attributes: AttentionAttributes = {
    ...{ layer: cacheLayer(b), nHeads, nKvHeads: nKvHeadsOf(spec, layer), dHead: attentionWidth(spec, layer) },
    scale: settings.attentionScale ?? spec.attention.scale,
    softCap: spec.attention.softCap,
    window: settings.window,
    ...(settings.chunk !== undefined && { chunk: settings.chunk }),
    causal: isCausal(spec),
    alibi: spec.positions.kind === "alibi",
    ...("roundedScale" in spec.positions && { alibiScale: spec.positions.roundedScale }),
    ...(spec.attention.sinks && { sinks: b.weight("sinks") }),
  };
  const scores = b.one(SCORES, [q, keys], attributes, b.at("attn.hook_attn_scores"));
  const pattern = b.one(SOFTMAX, [scores], attributes, b.at("attn.hook_pattern"));
  const z = narrowed(b, b.one(MIX, [pattern, values], attributes));
  b.name(z, b.at("attn.hook_z"));
  const result = b.one(HEAD_RESULTS, [z], { weight: b.weight("W_O"), dModel }, b.at("attn.hook_result"));
  return b.one(SUM_HEADS, [result], { bias: b.weight("b_O") }, b.at("attn.hook_out"));
}
