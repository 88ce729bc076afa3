/**
 * Attribution patching: the linear approximation of activation patching (Nanda 2023, "Attribution Patching: Activation
 * Patching At Industrial Scale"; Syed et al. 2023, arXiv 2310.10348, on how well it finds circuits).
 *
 * Patching an activation from t to s changes the metric by (s - t) · gradient, to first order. The gradients at t of all
 * points come from one backward pass, so the whole grid costs two forward passes and one backward pass, however many
 * cells it has. What is left out are the terms of higher order: softmax, norms and activation functions bend within the
 * patch, and a large patch of an early residual bends them most. `compareWithExact` says how much it matters.
 */

import reduce from "../../../shaders/reduce.wgsl";
import rowAttribution from "../../../shaders/row_attribution.wgsl";
import { HookError } from "../../errors.ts";
import { defineKernel, u32 } from "../../gpu/kernel.ts";
import { foldGrid, Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { reduceConstants } from "../../kernels/launch.ts";
import type { TokenInput } from "../../model/input.ts";
import type { Logits } from "../../model/logits.ts";
import { layoutOf } from "../../ops/places.ts";
import * as s from "../../schema/schema.ts";
import type { ActivationCache } from "../activation-cache.ts";
import { readCall } from "../call.ts";
import type { HookedModel } from "../hooked-model.ts";
import {
  type CheckedMetric,
  checkMetrics,
  gradientModeOf,
  type Metric,
  numbersOf,
  readsLogits,
  recordMetric,
} from "../metrics.ts";
import {
  type ActivationPatchOptions,
  PATCH_FIELDS,
  type PatchPlan,
  patchGrid,
  planPatch,
} from "../patching/activation-patch.ts";
import { againstClean, EXPERIMENT_FIELDS } from "../patching/experiment.ts";
import type { PatchGrid } from "../patching/grid.ts";
import { isHeadFirst } from "../points.ts";

/** Options of `attributionPatch`: those of `activationPatch` for one pair of prompts, but for what concerns its many passes. */
export interface AttributionPatchOptions
  extends Omit<ActivationPatchOptions, "onProgress" | "memoryBudget" | "metric" | "clean" | "corrupted"> {
  /** One sequence, whose answer is the one that counts. */
  clean: TokenInput;
  /** As many tokens as `clean`. */
  corrupted: TokenInput;
  /** One number a cell. */
  metric: Metric;
}

export const ATTRIBUTION_PATCH_OPTIONS = s.object<AttributionPatchOptions>("the options of attributionPatch", {
  metric: EXPERIMENT_FIELDS.metric,
  metricPosition: EXPERIMENT_FIELDS.metricPosition,
  signal: EXPERIMENT_FIELDS.signal,
  ...PATCH_FIELDS,
});

const ROW_ATTRIBUTION = defineKernel({
  name: "row attribution",
  sources: [reduce, rowAttribution],
  bindings: { source: "read", changed: "read", gradient: "read", out: "write" },
  params: u32("rowCount", "width", "outStart"),
});

/**
 * What `activationPatch` would give, to first order: the same grid, its values the metric of the patched run plus
 * (source - target) · gradient. Two forward passes and one backward pass.
 * @throws HookError `hook/metric` for a metric without a gradient; otherwise as `activationPatch`.
 */
export async function attributionPatch(model: HookedModel, given: AttributionPatchOptions): Promise<PatchGrid> {
  const options = readCall("attributionPatch", model, ATTRIBUTION_PATCH_OPTIONS, given);
  return approximate(model, planPatch(model, options), options);
}

/** The same for options that are read. */
export async function approximate(
  model: HookedModel,
  plan: PatchPlan,
  options: s.Read<AttributionPatchOptions>,
): Promise<PatchGrid> {
  const metric = checkMetric(model, plan, options.metric);
  const { site, positions, end, target, source, denoising } = plan;
  const { signal } = options;
  using run = await model.forward([source], { capture: site.names, positions, logits: [end], signal });
  const measured = (denoising ? await againstClean(metric, run.logits) : metric) as CheckedMetric;
  const at = site.names;
  using passed = await model.backward([target], { metric: measured, position: end, at, positions, signal });
  const ofTarget = passed.value[0] as number;
  const { rows, ofLogits } = await reduceRows(model, plan, measured, run, passed, signal);
  const ofSource = readsLogits(measured) ? ofLogits : await measuredAlone(model, source, measured, end, signal);
  const values = Float32Array.from(cellsOf(plan, run.cache, rows), (change) => ofTarget + change);
  return patchGrid(plan, values, ofTarget, ofSource);
}

/** @throws HookError `hook/metric` */
function checkMetric({ spec }: HookedModel, { denoising }: PatchPlan, metric: Metric): CheckedMetric {
  const checked = metric as CheckedMetric;
  checkMetrics([checked], spec);
  gradientModeOf(checked, spec);
  if (denoising || checked.kind !== "kl" || checked.reference) return checked;
  throw new HookError(
    "hook/metric",
    "kl() compares with the clean run, where its gradient is 0: to first order nothing changes it when noising. Use direction denoising, or give kl a reference.",
  );
}

/** The metric of a prompt as it is. */
async function measuredAlone(
  model: HookedModel,
  ids: readonly number[],
  metric: Metric,
  position: number,
  signal: AbortSignal | undefined,
): Promise<number> {
  const { base } = await model.sweep({ input: [...ids], cells: [], metric, position, ...(signal && { signal }) });
  return base[0] as number;
}

/** (source - target) · gradient of every captured row, [layers, rows of a layer], and the metric of the source if it is of logits. */
async function reduceRows(
  { gpu, spec }: HookedModel,
  { site }: PatchPlan,
  metric: CheckedMetric,
  source: { cache: ActivationCache; logits: Logits },
  target: { cache: ActivationCache; grads: ActivationCache },
  signal: AbortSignal | undefined,
): Promise<{ rows: Float32Array[]; ofLogits: number }> {
  const widths = site.names.map((name) => source.cache.shape(name).at(-1) as number);
  const rowCount = source.cache.tensor(site.names[0] as string).length / (widths[0] as number);
  const count = rowCount * site.names.length;
  using out = gpu.tensor([count + 1], "attributions");
  const record = (recorder: Recorder) => {
    site.names.forEach((name, index) => {
      recorder.dispatch(ROW_ATTRIBUTION, {
        params: { rowCount, width: widths[index] as number, outStart: index * rowCount },
        buffers: {
          source: source.cache.tensor(name),
          changed: target.cache.tensor(name),
          gradient: target.grads.tensor(name),
          out,
        },
        workgroups: foldGrid(gpu, rowCount),
        constants: reduceConstants(recorder),
      });
    });
    if (readsLogits(metric)) measureInto(recorder, metric, source.logits, numbersOf(metric, spec), out, count);
  };
  await Recorder.run(gpu, "attributions", record, { signal });
  const all = await out.read();
  const rows = site.names.map((_, index) => all.subarray(index * rowCount, (index + 1) * rowCount));
  return { rows, ofLogits: all[count] as number };
}

/** The metric of the only row of logits. */
function measureInto(
  recorder: Recorder,
  metric: Metric,
  logits: Logits,
  numbers: Float32Array | undefined,
  outputs: Tensor,
  outStart: number,
) {
  recordMetric(recorder, metric, {
    logits: logits.tensor,
    rows: [[0, 0]],
    vocab: logits.tensor.shape[1] as number,
    reference: numbers ? recorder.upload(numbers) : logits.tensor,
    outputs,
    outStart,
    outStride: 1,
  });
}

/** Cells of rows: a row each, or for each head the sum over the positions that are patched together. */
function cellsOf(
  { site, heads, positions, columns }: PatchPlan,
  cache: ActivationCache,
  rows: readonly Float32Array[],
): number[] {
  const places = positions.map((position) => cache.placeOf(0, position));
  return site.names.flatMap((name, layer) => {
    const { rowIndex, rowStride, headStride, width } = layoutOf(cache.shape(name), isHeadFirst(name));
    const rowAt = (place: number, head: number) =>
      rows[layer]?.[(rowIndex(0, place) * rowStride + head * headStride) / width] as number;
    if (heads.length === 0) return places.map((place) => rowAt(place, 0));
    if (columns.name === "position") return heads.flatMap((head) => places.map((place) => rowAt(place, head)));
    return heads.map((head) => [...new Set(places)].reduce((sum, place) => sum + rowAt(place, head), 0));
  });
}
