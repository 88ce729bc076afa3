/**
 * Norms applied to parts of the residual stream.
 *
 * A norm divides by a scale that depends on all of the residual, so it is not linear. With the scale fixed to the run's it is
 * linear: centre (LayerNorm), divide, multiply by the weight. So it can be applied to each component of a sum by itself. The
 * bias is added once, to the sum.
 */
import type { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { copyRows, gather } from "../../kernels/calls.ts";
import type { NormWeights } from "../../kernels/matrix.ts";
import { norm, normStages } from "../../kernels/norm.ts";
import { packedView } from "../../kernels/view.ts";
import type { ModelSpec } from "../../model/spec.ts";
import type { Weights } from "../../model/weights/weights.ts";

/** A norm that reads the residual stream: its weights, and the point that shows its scale. */
export interface ResidualNorm {
  weights: NormWeights;
  scalePoint: string;
}

/** The norm that reads the residual at `layer`: before its attention or MLP, or the final norm for `nLayers`. */
export function residualNormAt(spec: ModelSpec, weights: Weights, layer: number, mlpInput: boolean): ResidualNorm {
  if (layer === spec.nLayers) return { weights: weights.lnFinal ?? {}, scalePoint: "ln_final.hook_scale" };
  const name = mlpInput ? "ln2" : "ln1";
  return { weights: weights.blocks[layer]?.[name] ?? {}, scalePoint: `blocks.${layer}.${name}.hook_scale` };
}

/** A temporary [rows, dModel]: the norm of x, with `scales` [rows] in place of its own if given; a copy in models without norms. */
export function normed(
  recorder: Recorder,
  spec: ModelSpec,
  x: Tensor,
  rows: number,
  weights: NormWeights,
  scales?: Tensor,
): Tensor {
  const out = recorder.temp(rows, spec.dModel);
  if (scales) {
    const stages = normStages(recorder, rows, spec.dModel, spec.norm, weights);
    const normalized = recorder.temp(rows, spec.dModel);
    stages.normalize(x, scales, normalized);
    stages.affine(normalized, out);
    recorder.release(normalized);
  } else if (spec.norm.kind === "none") copyRows(recorder, x, out, rows * spec.dModel);
  else norm(recorder, x, rows, spec.dModel, spec.norm, weights, out);
  return out;
}

/** The scales [rows] that a norm of x would divide by. */
export function scalesOf(recorder: Recorder, spec: ModelSpec, x: Tensor, rows: number): Tensor {
  const scales = recorder.temp(rows);
  normStages(recorder, rows, spec.dModel, spec.norm, {}).scale(x, scales);
  return scales;
}

/** A temporary of scales [rows] repeated `times`: as blocks (s0 s1 … s0 s1 …) or each in place (s0 s0 … s1 s1 …). */
export function repeatScales(
  recorder: Recorder,
  scales: Tensor,
  rows: number,
  times: number,
  order: "blocks" | "each",
): Tensor {
  const out = recorder.temp(rows * times);
  const list = recorder.upload(Uint32Array.from({ length: 2 * rows }, (_, index) => index >> 1));
  const strides = order === "blocks" ? { rowStride: 1, headStride: rows } : { rowStride: times, headStride: 1 };
  const source = { ...packedView(scales, 1), headStride: 0 };
  gather(recorder, source, { ...packedView(out, 1, times), ...strides }, list);
  return out;
}
