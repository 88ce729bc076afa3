/**
 * How much single neurons write along a logit's direction.
 *
 * A neuron's activation p adds f(W_out[:, n] p) to the residual, where f is the residual multiplier and, in post-norm blocks,
 * the post-norm at the run's scale. Along a direction u that is p times (f' u) · W_out[:, n]. So one matmul of W_out with the
 * direction f' u serves all neurons, and no [neuron, dModel] array is ever made.
 */
import { HookError } from "../../errors.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { matmul } from "../../kernels/calls.ts";
import type { Matrix } from "../../kernels/matrix.ts";
import type { BlockWeights } from "../../model/weights/weights.ts";
import type { HookedModel } from "../hooked-model.ts";
import { centredFor, dot, type LogitDirection, normFactor } from "./directions.ts";
import { hasPostNorm } from "./head-parts.ts";
import { matmulTransposed } from "./kernels.ts";
import { scalesOf } from "./norms.ts";
import type { Activations } from "./source.ts";

/** Some labelled contributions, for each row of the batch. */
export interface Terms {
  labels: readonly string[];
  value: (index: number, row: number) => number;
}

/** For each block its neurons and, where there is one, its bias; `targets` has each row's direction. Not yet divided by the final scale. */
export async function readNeuronTerms(
  model: HookedModel,
  activations: Activations,
  directions: readonly LogitDirection[],
  targets: readonly number[],
): Promise<Terms[]> {
  if (model.spec.mlp.experts)
    throw new HookError(
      "hook/unsupported",
      `The neurons of this ${model.spec.family} model belong to experts, and which of them a row has differs from row to row. Attribute by "component", or read "*mlp.hook_expert_post" and "*mlp.hook_expert_indices".`,
    );
  const terms: Terms[] = [];
  for (const [layer, block] of model.engine.weights.blocks.entries()) {
    if (block.W_out) terms.push(...(await layerTerms(model, activations, layer, directions, targets)));
  }
  return terms;
}

async function layerTerms(
  model: HookedModel,
  activations: Activations,
  layer: number,
  directions: readonly LogitDirection[],
  targets: readonly number[],
): Promise<Terms[]> {
  const { spec } = model;
  const { dModel } = spec;
  const block = model.engine.weights.blocks[layer] as BlockWeights;
  const W_out = block.W_out as Matrix;
  const dMlp = W_out.width;
  const pulled = await pullBack(model, block, directions);
  const rows = activations.rows.length;
  const read = await model.engine.record(`neurons of block ${layer}`, (recorder) => {
    const post = activations.packed(recorder, `blocks.${layer}.mlp.hook_post`);
    const flat = new Float32Array(directions.length * dModel);
    pulled.forEach((direction, index) => {
      flat.set(direction, index * dModel);
    });
    const along = matmulTransposed(recorder, recorder.upload(flat), directions.length, W_out);
    const scales = hasPostNorm(spec)
      ? recorder.readback(postNormScales(recorder, model, block, post, rows))
      : undefined;
    return { post: recorder.readback(post), along: recorder.readback(along), scales };
  });
  const post = new Float32Array(read.post.bytes);
  const along = new Float32Array(read.along.bytes);
  const scales = read.scales && new Float32Array(read.scales.bytes);
  const neurons: Terms = {
    labels: Array.from({ length: dMlp }, (_, neuron) => `L${layer}N${neuron}`),
    value: (neuron, row) =>
      ((post[row * dMlp + neuron] as number) * (along[(targets[row] as number) * dMlp + neuron] as number)) /
      (scales?.[row] ?? 1),
  };
  const bias = await biasTerm(model, block, pulled, directions);
  if (!bias) return [neurons];
  return [
    neurons,
    { labels: [`${layer}_mlp_bias`], value: (_, row) => bias(targets[row] as number, scales?.[row] ?? 1) },
  ];
}

/** Directions of the residual as directions of the MLP's output, but for the post-norm's scale. */
async function pullBack(
  model: HookedModel,
  block: BlockWeights,
  directions: readonly LogitDirection[],
): Promise<Float64Array[]> {
  const { spec } = model;
  const factor = hasPostNorm(spec) ? await normFactor(model, block.ln2Post) : undefined;
  const centre = (values: Float64Array) => (hasPostNorm(spec) ? centredFor(spec, values) : values);
  return directions.map(({ residual }) =>
    centre(residual.map((value, d) => spec.block.residualScale * value * (factor?.[d] ?? 1))),
  );
}

function postNormScales(
  recorder: Recorder,
  { spec }: HookedModel,
  block: BlockWeights,
  post: Tensor,
  rows: number,
): Tensor {
  const branch = recorder.temp(rows, spec.dModel);
  matmul(recorder, post, rows, block.W_out as Matrix, branch, { bias: block.b_out });
  return scalesOf(recorder, spec, branch, rows);
}

/** What the MLP adds whatever its neurons do: b_out, and the bias of the post-norm. */
async function biasTerm(
  { spec, engine }: HookedModel,
  block: BlockWeights,
  pulled: readonly Float64Array[],
  directions: readonly LogitDirection[],
) {
  const normBias = hasPostNorm(spec) ? block.ln2Post?.b : undefined;
  if (!block.b_out && !normBias) return undefined;
  const inner = await engine.readVector(block.b_out);
  const outer = await engine.readVector(normBias);
  return (target: number, scale: number) =>
    (inner ? dot(pulled[target] as Float64Array, inner) / scale : 0) +
    (outer ? spec.block.residualScale * dot((directions[target] as LogitDirection).residual, outer) : 0);
}
