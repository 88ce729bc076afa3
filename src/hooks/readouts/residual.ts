/**
 * The residual stream as it grows (`accumulatedResid`) and as a sum (`decomposeResid`, `headResults`). Every part of the
 * model reads the residual and adds to it, so the residual is exactly the sum of what was added before.
 */

import { HookError } from "../../errors.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { gather } from "../../kernels/calls.ts";
import { packedView } from "../../kernels/view.ts";
import { ABORT_FIELDS, type AbortOptions } from "../../model/long-call.ts";
import type { ModelSpec } from "../../model/spec.ts";
import * as s from "../../schema/schema.ts";
import type { HookedModel } from "../hooked-model.ts";
import { assertPlainResidual } from "../plain-residual.ts";
import { resolvePoint } from "../points.ts";
import { Decomposition, type DecompositionOptions } from "./decomposition.ts";
import { normed, type ResidualNorm, repeatScales, residualNormAt } from "./norms.ts";
import { type Activations, checkLayer, type Need, type ReadoutSource, readSource, withActivations } from "./source.ts";
import { ResidualStack } from "./stack.ts";

/** What the functions that take the residual stream apart have in common. */
export interface ResidualOptions extends AbortOptions {
  /** The residual before block `layer`; `nLayers` (default) or -1: after the last block. */
  layer?: number;
  /** At the MLP of block `layer` instead: `layer`'s attention included. Not in parallel blocks. */
  mlpInput?: boolean;
  /** Positions of each sequence, negative from the end; all when absent. */
  positions?: s.Indices;
}

const RESIDUAL_FIELDS = {
  layer: s.ranged("a whole number"),
  mlpInput: s.flag,
  positions: s.indices,
  ...ABORT_FIELDS,
} as const satisfies s.Fields<ResidualOptions>;

/** Options of `accumulatedResid`. */
export interface AccumulatedOptions extends ResidualOptions {
  /** Also the residual between attention and MLP of each block before `layer`. Not in parallel blocks. */
  includeMid?: boolean;
  /**
   * Apply the norm that reads the residual at `layer` (the final norm for `nLayers`), weight and bias included: with each
   * residual's `own` scale, or with the scale of the `run`.
   */
  applyLn?: "own" | "run";
}

export const ACCUMULATED_OPTIONS = s.object<AccumulatedOptions>("the options of accumulatedResid", {
  ...RESIDUAL_FIELDS,
  includeMid: s.flag,
  applyLn: s.oneOf("own", "run"),
});

/**
 * The residual stream before each block up to `layer`, [layers + 1, batch, pos, dModel], with labels `0_pre`, `1_pre`, …,
 * `final_post` (and `0_mid`, … with `includeMid` and `mlpInput`). TransformerLens's `accumulated_resid`.
 * @throws HookError for a layer, position or point that does not exist, or a cache that lacks what is read.
 */
export async function accumulatedResid(
  model: HookedModel,
  from: ReadoutSource,
  given: AccumulatedOptions = {},
): Promise<ResidualStack> {
  const { source, options } = readSource("accumulatedResid", model, from, ACCUMULATED_OPTIONS, given);
  assertPlainResidual(model.spec, "accumulatedResid");
  const { spec } = model;
  const { layer, mlpInput } = residualPlace(spec, options);
  const stages = residualStages(spec.nLayers, layer, options);
  const norm = options.applyLn && residualNormAt(spec, model.engine.weights, layer, mlpInput);
  const scale = norm && requiredScale(model, norm);
  const points = [...stages.map(({ point }) => point), ...(options.applyLn === "run" ? [scale as string] : [])];
  const { positions, signal } = options;
  return withActivations(model, source, { points: () => points, positions, signal }, (activations) =>
    buildStack(
      model,
      activations,
      stages.map(({ label }) => label),
      (recorder, stack) => {
        const width = spec.dModel;
        const pairs = activations.pairs(recorder, "source", "target");
        stages.forEach(({ point }, index) => {
          const start = index * activations.batch * activations.width * width;
          gather(recorder, packedView(activations.tensor(point), width), packedView(stack, width, 1, start), pairs);
        });
        if (norm) normStack(recorder, model, activations, stack, stages.length, norm, options.applyLn === "run");
      },
    ),
  );
}

interface Stage {
  label: string;
  point: string;
}

/** Where the residual is looked at, from the embedding to `layer`. */
function residualStages(
  nLayers: number,
  layer: number,
  { includeMid = false, mlpInput = false }: Pick<AccumulatedOptions, "includeMid" | "mlpInput">,
): Stage[] {
  const stages: Stage[] = [];
  for (let block = 0; block <= layer; block++) {
    if (block === nLayers) {
      stages.push({ label: "final_post", point: `blocks.${nLayers - 1}.hook_resid_post` });
      continue;
    }
    stages.push({ label: `${block}_pre`, point: `blocks.${block}.hook_resid_pre` });
    if (block < layer ? includeMid : mlpInput)
      stages.push({ label: `${block}_mid`, point: `blocks.${block}.hook_resid_mid` });
  }
  return stages;
}

/** Options of `decomposeResid`. */
export interface DecomposeOptions extends ResidualOptions {
  /** Each block's attention as its heads `L0H0`, `L0H1`, … and, where there is one, its bias `0_attn_bias`. */
  heads?: boolean;
  /**
   * Apply the norm that reads the residual at `layer`, with the run's own scale, to each component: centred (LayerNorm),
   * divided, multiplied by the weight. The norm's bias becomes a last component, `ln_bias`. The sum is what is read there.
   */
  applyLn?: boolean;
}

export const DECOMPOSE_OPTIONS = s.object<DecomposeOptions>("the options of decomposeResid", {
  ...RESIDUAL_FIELDS,
  heads: s.flag,
  applyLn: s.flag,
});

/**
 * The components the residual at `layer` is the sum of, [component, batch, pos, dModel]: `embed`, `pos_embed` (where there
 * are learned positions), `0_attn_out`, `0_mlp_out`, … TransformerLens's `decompose_resid` and `get_full_resid_decomposition`.
 *
 * `attn_out` and `mlp_out` are exactly what is added to the residual, after post-norm and residual multiplier, so the sum
 * holds in every family. In models with a norm after the embedding (bloom), `embed` is what that norm gives. An edit of
 * the residual itself (`hook_resid_*`) belongs to no component: the sum then misses it.
 * @throws HookError for a layer, position or point that does not exist, or a cache that lacks what is read.
 */
export async function decomposeResid(
  model: HookedModel,
  from: ReadoutSource,
  given: DecomposeOptions = {},
): Promise<ResidualStack> {
  const { source, options } = readSource("decomposeResid", model, from, DECOMPOSE_OPTIONS, given);
  assertPlainResidual(model.spec, "decomposeResid");
  const place = residualPlace(model.spec, options);
  const norm = options.applyLn
    ? residualNormAt(model.spec, model.engine.weights, place.layer, place.mlpInput)
    : undefined;
  return decompose(model, source, { ...place, heads: options.heads ?? false }, options, norm);
}

/** Options of `headResults`. */
export type HeadResultsOptions = Omit<ResidualOptions, "mlpInput">;

export const HEAD_RESULTS_OPTIONS = s.object<HeadResultsOptions>("the options of headResults", {
  layer: RESIDUAL_FIELDS.layer,
  positions: RESIDUAL_FIELDS.positions,
  ...ABORT_FIELDS,
});

/**
 * What each head adds to the residual stream, [layer * head, batch, pos, dModel], labels `L0H0`, `L0H1`, …: W_O[h] z[h], and
 * after that the block's post-norm (with the run's scale, without its bias) and residual multiplier where it has them; in
 * other families it equals `hook_result`. Heads plus bias (see `decomposeResid` with `heads`) are exactly `hook_attn_out`.
 * TransformerLens's `stack_head_results`.
 * @throws HookError as `decomposeResid`.
 */
export async function headResults(
  model: HookedModel,
  from: ReadoutSource,
  given: HeadResultsOptions = {},
): Promise<ResidualStack> {
  const { source, options } = readSource("headResults", model, from, HEAD_RESULTS_OPTIONS, given);
  assertPlainResidual(model.spec, "headResults");
  const { layer } = residualPlace(model.spec, options);
  const plan = { layer, heads: true, headBias: false, embeds: false, mlps: false };
  return decompose(model, source, plan, options, undefined);
}

/** @throws HookError for a layer that does not exist, or an MLP input where nothing lies between attention and MLP. */
function residualPlace(
  spec: ModelSpec,
  { layer: given, mlpInput = false }: Pick<ResidualOptions, "layer" | "mlpInput">,
): { layer: number; mlpInput: boolean } {
  const layer = checkLayer(given ?? spec.nLayers, spec.nLayers, "layer");
  if (mlpInput && layer === spec.nLayers)
    throw new HookError(
      "hook/layer-range",
      `mlpInput needs the block of the MLP: give layer, from 0 to ${spec.nLayers - 1}.`,
    );
  if (mlpInput) resolvePoint(spec, `blocks.${layer}.hook_resid_mid`);
  return { layer, mlpInput };
}

async function decompose(
  model: HookedModel,
  source: ReadoutSource,
  options: DecompositionOptions,
  { positions, signal }: Pick<Need, "positions" | "signal">,
  norm: ResidualNorm | undefined,
): Promise<ResidualStack> {
  const { spec } = model;
  const scale = norm && requiredScale(model, norm);
  const plan = new Decomposition(spec, model.engine.weights, options);
  const points: Need["points"] = (held) => [...plan.points(held), ...(scale ? [scale] : [])];
  return withActivations(model, source, { points, positions, signal }, (activations) => {
    const labels = norm?.weights.b ? [...plan.labels, "ln_bias"] : plan.labels;
    return buildStack(model, activations, labels, (recorder, stack) => {
      plan.record(recorder, activations, stack);
      if (!norm) return;
      const { w, b } = norm.weights;
      normStack(recorder, model, activations, stack, plan.labels.length, { ...norm, weights: w ? { w } : {} }, true);
      if (b) addBiasComponent(recorder, activations, stack, plan.labels.length, b, spec.dModel);
    });
  });
}

/** The norm's scale point. @throws HookError when this model has no such norm. */
function requiredScale(model: HookedModel, { scalePoint }: ResidualNorm): string {
  return resolvePoint(model.spec, scalePoint).name;
}

async function buildStack(
  model: HookedModel,
  activations: Activations,
  labels: readonly string[],
  record: (recorder: Recorder, stack: Tensor) => void,
): Promise<ResidualStack> {
  const { batch, width } = activations;
  const stack = model.gpu.tensor([labels.length, batch, width, model.spec.dModel], "residual stack");
  try {
    await model.engine.record("residual stack", (recorder) => record(recorder, stack));
    return new ResidualStack(labels, stack, activations.positions);
  } catch (error) {
    stack.destroy();
    throw error;
  }
}

/** Norms the first `components` of a stack in place, with the run's scale or each vector's own. */
function normStack(
  recorder: Recorder,
  model: HookedModel,
  activations: Activations,
  stack: Tensor,
  components: number,
  norm: ResidualNorm,
  runScale: boolean,
): void {
  const { spec } = model;
  const { dModel } = spec;
  const rows = activations.rows.length;
  // Components lie one after the other, like heads.
  const inRows = (buffer: Tensor, headStride: number) => ({
    ...packedView(buffer, dModel),
    heads: components,
    headStride,
  });
  const inStack = inRows(stack, activations.batch * activations.width * dModel);
  const packed = recorder.temp(components, rows, dModel);
  gather(recorder, inStack, inRows(packed, rows * dModel), activations.pairs(recorder, "target", "packed"));
  const scales = runScale
    ? repeatScales(recorder, activations.packed(recorder, norm.scalePoint), rows, components, "blocks")
    : undefined;
  const result = normed(recorder, spec, packed, components * rows, norm.weights, scales);
  gather(recorder, inRows(result, rows * dModel), inStack, activations.pairs(recorder, "packed", "target"));
}

function addBiasComponent(
  recorder: Recorder,
  activations: Activations,
  stack: Tensor,
  component: number,
  bias: Tensor,
  dModel: number,
): void {
  const start = component * activations.batch * activations.width * dModel;
  const pairs = activations.pairs(recorder, "zero", "target");
  gather(recorder, { ...packedView(bias, dModel), rowStride: 0 }, packedView(stack, dModel, 1, start), pairs);
}
