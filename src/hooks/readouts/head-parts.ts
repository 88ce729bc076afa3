/**
 * What each head adds to the residual stream.
 *
 * Attention adds f(sum over heads of W_O[h] z[h] + b_O), where f is the residual multiplier and, in post-norm blocks, the
 * post-norm. With the post-norm's scale fixed to the run's, f is linear except for the norm's bias. So every head has a
 * part of its own, and the biases are one more part. Together they are exactly `hook_attn_out`.
 */
import type { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { combine, gather, projectHeads, sumHeads } from "../../kernels/calls.ts";
import { packedView } from "../../kernels/view.ts";
import type { ModelSpec } from "../../model/spec.ts";
import type { BlockWeights, Weights } from "../../model/weights/weights.ts";
import { normed, repeatScales, scalesOf } from "./norms.ts";
import type { Activations } from "./source.ts";

/** The parts of one block's attention output, for the packed rows of `activations`. */
export interface HeadParts {
  /** [rows, nHeads, dModel]. */
  heads: Tensor;
  /** [rows, dModel]; undefined when the block has no bias. */
  bias: Tensor | undefined;
}

export function hasPostNorm(spec: ModelSpec): boolean {
  return spec.block.norms !== "pre" && spec.norm.kind !== "none";
}

/** Whether attention adds something that belongs to no head. */
export function hasAttentionBias(spec: ModelSpec, block: BlockWeights): boolean {
  return block.b_O !== undefined || (hasPostNorm(spec) && block.ln1Post?.b !== undefined);
}

/** The point the heads are computed from: their results, or z for a cache that holds only that. */
export function headPoint(layer: number, held: ReadonlySet<string> | undefined): string {
  const result = `blocks.${layer}.attn.hook_result`;
  const z = `blocks.${layer}.attn.hook_z`;
  return held && !held.has(result) && held.has(z) ? z : result;
}

export function recordHeadParts(
  recorder: Recorder,
  spec: ModelSpec,
  weights: Weights,
  layer: number,
  point: string,
  activations: Activations,
): HeadParts {
  const block = weights.blocks[layer] as BlockWeights;
  const rows = activations.rows.length;
  const captured = activations.packed(recorder, point);
  let heads = captured;
  if (point.endsWith("hook_z")) {
    heads = recorder.temp(rows, spec.nHeads, spec.dModel);
    projectHeads(recorder, captured, rows, block.W_O, spec.nHeads, heads);
  }
  let bias = hasAttentionBias(spec, block) ? broadcast(recorder, block.b_O, rows, spec.dModel) : undefined;
  if (hasPostNorm(spec)) {
    const scales = postNormScales(recorder, spec, block, heads, rows);
    const repeated = repeatScales(recorder, scales, rows, spec.nHeads, "each");
    const { w } = block.ln1Post ?? {};
    heads = normed(recorder, spec, heads, rows * spec.nHeads, w ? { w } : {}, repeated);
    bias &&= normed(recorder, spec, bias, rows, block.ln1Post ?? {}, scales);
  }
  const scale = spec.block.residualScale;
  if (scale === 1) return { heads, bias };
  return { heads: scaled(recorder, heads, scale), bias: bias && scaled(recorder, bias, scale) };
}

/** The scale of the norm after attention, from the sum of what the heads give. */
function postNormScales(recorder: Recorder, spec: ModelSpec, block: BlockWeights, heads: Tensor, rows: number): Tensor {
  const { nHeads, dModel } = spec;
  const branch = recorder.temp(rows, dModel);
  sumHeads(recorder, heads, rows, nHeads, dModel, block.b_O, branch);
  return scalesOf(recorder, spec, branch, rows);
}

/** A vector (zeros when absent) in each of `rows` rows. */
function broadcast(recorder: Recorder, vector: Tensor | undefined, rows: number, width: number): Tensor {
  const source = vector ?? recorder.upload(new Float32Array(width));
  const out = recorder.temp(rows, width);
  const list = recorder.upload(Uint32Array.from({ length: 2 * rows }, (_, index) => (index % 2) * (index >> 1)));
  gather(recorder, { ...packedView(source, width), rowStride: 0 }, packedView(out, width), list);
  return out;
}

function scaled(recorder: Recorder, x: Tensor, scale: number): Tensor {
  const out = recorder.temp(...x.shape);
  combine(recorder, x, out, x.length, "replace", scale);
  recorder.release(x);
  return out;
}
