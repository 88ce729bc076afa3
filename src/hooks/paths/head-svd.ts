/**
 * What a head can do at all, whatever the prompt: its two matrices of rank dHead, taken apart into singular vectors.
 *
 * OV = W_V W_O takes what the head reads at a key, x OV, to what it writes at the query. QK = W_Q W_K^T gives the score of a
 * query x and a key y, x QK y^T. Left singular vectors are directions of x; right ones are what is written, or directions of y
 * (Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits"; Millidge and Black 2022, "The Singular Value
 * Decompositions of Transformer Weight Matrices are Highly Interpretable").
 */

import { abortable } from "../../abort.ts";
import * as s from "../../schema/schema.ts";
import { readCall } from "../call.ts";
import type { HookedModel } from "../hooked-model.ts";
import { pickHeads, resolveSite } from "../patching/sites.ts";
import { assertPlainResidual } from "../plain-residual.ts";
import { centredFor, normFactor } from "../readouts/directions.ts";
import { type DirectionTokens, directionTokens } from "./direction-tokens.ts";
import { type FactoredMatrix, HEAD_CIRCUIT_FIELDS, type HeadCircuitOptions, layerCircuits } from "./factored.ts";
import { type Columns, lowRankSvd } from "./low-rank-svd.ts";

/** Options of `headSvd`. */
export interface HeadSvdOptions extends HeadCircuitOptions {
  /** Also give so many tokens at each end of every singular vector. */
  topTokens?: number;
}

export const HEAD_SVD_OPTIONS = s.object<HeadSvdOptions>("the options of headSvd", {
  ...HEAD_CIRCUIT_FIELDS,
  topTokens: s.wholeFrom(1),
});

/** The circuit's matrix [dModel, dModel], sum of values[i] left[i] right[i]^T. */
export interface HeadSvd {
  /** Singular values, falling; as many as the rank. */
  readonly values: Float64Array;
  /** [rank][dModel], orthonormal. OV: what the head reads; QK: what queries are read for. */
  readonly left: readonly Float64Array[];
  /** [rank][dModel], orthonormal. OV: what the head writes for it; QK: what keys are read for. */
  readonly right: readonly Float64Array[];
  /** The tokens whose embeddings lie along what the head reads (OV) or what queries are read for (QK), with `topTokens`. */
  readonly leftTokens?: readonly DirectionTokens[];
  /** OV: the tokens whose logits rise and fall with what is written. QK: those whose embeddings lie along what keys are read for. */
  readonly rightTokens?: readonly DirectionTokens[];
}

/**
 * Of the checkpoint's weights, as `model.weight` gives them. Left out is what is no matrix of the head: the norm before it, the
 * biases, the scale of the scores, and, between queries and keys, RoPE and q/k norms, which depend on positions and
 * lengths. Tokens are read through the weights of the norm before the block and of the final one, up to those norms' scales.
 * @throws HookError `hook/layer-range`, `hook/head-range`, `hook/top-k`
 */
export async function headSvd(model: HookedModel, given: HeadSvdOptions): Promise<HeadSvd> {
  const { layer, head, circuit, topTokens, signal } = readCall("headSvd", model, HEAD_SVD_OPTIONS, given);
  assertPlainResidual(model.spec, "headSvd");
  model.assertOpen();
  const { spec } = model;
  pickHeads(resolveSite(spec, "z", [layer]), [head]);
  const [matrix] = (await abortable(layerCircuits(model, layer, circuit, [head]), signal)) as [FactoredMatrix];
  const svd = lowRankSvd(matrix.columns, matrix.rows);
  if (topTokens === undefined) return svd;
  const { W_E, W_U } = model.base.engine.weights;
  const read = async (vectors: Columns) =>
    directionTokens(model, W_E, await beforeNorm(model, layer, vectors), topTokens);
  const write = async (vectors: Columns) => directionTokens(model, W_U, await afterNorm(model, vectors), topTokens);
  const leftTokens = await abortable(read(svd.left), signal);
  return { ...svd, leftTokens, rightTokens: await abortable((circuit === "OV" ? write : read)(svd.right), signal) };
}

/** Directions of what attention reads as directions of the residual: u · norm(x) = u' · x / scale, but for the bias. */
async function beforeNorm(model: HookedModel, layer: number, vectors: Columns): Promise<Columns> {
  const { spec, base } = model;
  if (spec.norm.kind === "none" || spec.block.norms === "post") return vectors;
  const factor = await normFactor(model, base.engine.weights.blocks[layer]?.ln1);
  return vectors.map((vector) => centredFor(spec, weighted(vector, factor)));
}

/** What the final norm makes of directions of the residual, times its scale. */
async function afterNorm(model: HookedModel, vectors: Columns): Promise<Columns> {
  const { spec, base } = model;
  if (spec.norm.kind === "none") return vectors;
  const factor = await normFactor(model, base.engine.weights.lnFinal);
  return vectors.map((vector) => weighted(centredFor(spec, vector), factor));
}

const weighted = (vector: Float64Array, factor: Float64Array | undefined) =>
  factor ? vector.map((x, d) => x * (factor[d] as number)) : vector;
