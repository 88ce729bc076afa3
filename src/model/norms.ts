/** Norms of the residual stream: fused, or in stages where `hook_scale` or `hook_normalized` is wanted. */
import type { Tensor } from "../gpu/tensor.ts";
import { add, copyRows, norm, normStages } from "../kernels/calls.ts";
import type { NormWeights } from "../kernels/matrix.ts";
import { type BlockContext, offer, type PassContext, rowsView } from "./context.ts";

export interface NormOptions {
  /** Prefix of the points `.hook_scale` and `.hook_normalized`; none when absent. */
  points?: string;
  /** Add to `out` instead of replacing it. */
  accumulate?: boolean;
}

/** out[r] (+)= norm(x[r]), x and out [rows, dModel]. With norm kind `none` it copies. */
export function recordNorm(
  context: PassContext,
  x: Tensor,
  weights: NormWeights | undefined,
  out: Tensor,
  { points, accumulate = false }: NormOptions = {},
): void {
  const { recorder, spec, rows, taps } = context;
  const width = spec.dModel;
  if (spec.norm.kind === "none") {
    copyRows(recorder, x, out, rows.count * width);
    return;
  }
  const scalePoint = `${points}.hook_scale`;
  const normalizedPoint = `${points}.hook_normalized`;
  if (!points || !(taps.wants(scalePoint) || taps.wants(normalizedPoint))) {
    norm(recorder, x, rows.count, width, spec.norm, weights ?? {}, out, accumulate);
    return;
  }
  const stages = normStages(recorder, rows.count, width, spec.norm, weights ?? {});
  const scales = recorder.temp(rows.count, 1);
  const normalized = recorder.temp(rows.count, width);
  stages.scale(x, scales);
  offer(context, scalePoint, () => rowsView(scales, 1));
  stages.normalize(x, scales, normalized);
  offer(context, normalizedPoint, () => rowsView(normalized, width));
  stages.affine(normalized, out, accumulate);
  recorder.release(scales);
  recorder.release(normalized);
}

/**
 * What attention (`ln1`) or the MLP (`ln2`) reads: the normed residual, or the residual itself in blocks without a norm
 * there. Parallel blocks then need a copy, since attention adds to the residual before the MLP has read it.
 */
export function inputNorm(
  context: BlockContext,
  name: "ln1" | "ln2",
  residual: Tensor,
  weights: NormWeights | undefined,
): Tensor {
  const { recorder, spec, rows, layer } = context;
  const plain = spec.norm.kind === "none" || spec.block.norms === "post";
  if (plain && spec.block.residual === "sequential") return residual;
  const out = recorder.temp(rows.count, spec.dModel);
  if (plain) copyRows(recorder, residual, out, rows.count * spec.dModel);
  else recordNorm(context, residual, weights, out, { points: `blocks.${layer}.${name}` });
  return out;
}

/**
 * Adds what attention or the MLP computed to the residual: through the block's post-norm if it has one, and past the
 * point that shows the new term. `branch` [rows, dModel] comes unscaled and is consumed.
 */
export function addBranch(
  context: BlockContext,
  branch: Tensor,
  postNorm: NormWeights | undefined,
  point: string,
  residual: Tensor,
): void {
  const { recorder, spec, rows } = context;
  const hasPostNorm = spec.block.norms !== "pre" && spec.norm.kind !== "none";
  const scale = spec.block.residualScale;
  if (hasPostNorm && scale === 1 && !context.taps.wants(point)) {
    recordNorm(context, branch, postNorm, residual, { accumulate: true });
    recorder.release(branch);
    return;
  }
  const count = rows.count * spec.dModel;
  const term = recorder.temp(rows.count, spec.dModel);
  if (hasPostNorm) {
    const normed = recorder.temp(rows.count, spec.dModel);
    recordNorm(context, branch, postNorm, normed);
    add(recorder, normed, term, count, { scale, accumulate: false });
    recorder.release(normed);
  } else {
    add(recorder, branch, term, count, { scale, accumulate: false });
  }
  offer(context, point, () => rowsView(term, spec.dModel));
  add(recorder, term, residual, count);
  recorder.release(branch);
  recorder.release(term);
}
