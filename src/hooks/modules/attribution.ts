/**
 * Which features a metric depends on: activation times gradient of each active feature, from one forward and one backward pass. To first
 * order that is what the metric loses when the feature is set to 0; a sweep says what it really loses (Marks et al. 2024,
 * arXiv 2403.19647).
 */
import type { TokenInput } from "../../model/input.ts";
import { LONG_CALL_FIELDS, type LongCallOptions } from "../../model/long-call.ts";
import * as s from "../../schema/schema.ts";
import { MODEL } from "../call.ts";
import type { HookedModel } from "../hooked-model.ts";
import { METRIC_SCHEMA, type Metric } from "../metrics.ts";
import { assertOneColumn, PROMPT, sequenceOf } from "../patching/experiment.ts";
import type { Dictionary } from "./dictionary.ts";
import { DICTIONARIES } from "./splice.ts";

/** What to attribute, and how much of it. */
export interface FeatureAttributionOptions extends LongCallOptions {
  /** One sequence. */
  input: TokenInput;
  /** One number, with a gradient. */
  metric: Metric;
  /** Position whose logits are measured; negative from the end. Default -1. */
  position?: number;
  /** Features in the result at most, by the size of their attribution. Default 20. */
  count?: number;
  /** Also runs a sweep that sets each of these features to 0, and says what the metric loses. */
  exact?: boolean;
}

export const FEATURE_ATTRIBUTION_OPTIONS = s.object<FeatureAttributionOptions>("the options of featureAttribution", {
  input: PROMPT,
  metric: s.required(METRIC_SCHEMA),
  position: s.whole,
  count: s.wholeFrom(1),
  exact: s.flag,
  ...LONG_CALL_FIELDS,
});

/** A feature at a position, and what the metric owes it. */
export interface AttributedFeature {
  /** The point that its dictionary reads. */
  readonly hook: string;
  readonly position: number;
  readonly feature: number;
  readonly activation: number;
  /** Of the metric, per unit of activation. */
  readonly gradient: number;
  /** activation * gradient. */
  readonly attribution: number;
  /** What the metric loses when the feature is 0 at that position; with `exact`. */
  readonly exact?: number;
}

/** What `featureAttribution` gives. */
export interface FeatureAttribution {
  /** The metric of the prompt. */
  readonly value: number;
  /** By falling size of the attribution. */
  readonly features: readonly AttributedFeature[];
}

/**
 * The features that a metric depends on most. The dictionaries are spliced in with their errors, so the metric is the model's.
 *
 *     const { features } = await featureAttribution(model, sae, { input: prompt, metric: metric.logitDiff(a, b), exact: true });
 *
 * @throws as `backward` and `withModules`
 */
export async function featureAttribution(
  model: HookedModel,
  dictionaries: Dictionary | readonly Dictionary[],
  options: FeatureAttributionOptions,
): Promise<FeatureAttribution> {
  s.readArgument(MODEL, model, "featureAttribution", "model");
  const all = s.readArgument(DICTIONARIES, dictionaries, "featureAttribution", "dictionaries");
  const read = s.readOptions(FEATURE_ATTRIBUTION_OPTIONS, options, "featureAttribution");
  const { input, metric, position, count = 20, exact = false, signal, onProgress } = read;
  assertOneColumn(metric);
  if (onProgress && !exact) s.refuseIdle("featureAttribution", "onProgress", "without exact: it follows the sweep");
  const ids = sequenceOf(model, input, "input");
  using spliced = model.withModules(all);
  const hooks = all.flatMap(({ modules }) => modules);
  const at = hooks.map(({ hookIn }) => pointOf(hookIn));
  using run = await spliced.backward([ids], { metric, position, at, signal });
  const found: AttributedFeature[] = [];
  for (const { hookIn: hook, dSae } of hooks) {
    const [activations, gradients] = [await run.cache.read(pointOf(hook)), await run.grads.read(pointOf(hook))];
    activations.forEach((activation, index) => {
      const gradient = gradients[index] as number;
      if (activation === 0 || gradient === 0) return;
      const place = { hook, position: Math.floor(index / dSae), feature: index % dSae };
      found.push({ ...place, activation, gradient, attribution: activation * gradient });
    });
  }
  const features = found.sort((a, b) => Math.abs(b.attribution) - Math.abs(a.attribution)).slice(0, count);
  const value = run.value[0] as number;
  if (!exact || features.length === 0) return { value, features };
  const cells = features.map(({ hook, position: place, feature }) => ({
    ...{ at: pointOf(hook), op: "zero", dims: [feature], positions: [place] },
  })) as { at: string; op: "zero"; dims: number[]; positions: number[] }[];
  const { values, base } = await spliced.sweep({ input: [ids], cells, metric, position, signal, onProgress });
  return {
    value,
    features: features.map((each, index) => ({ ...each, exact: (base[0] as number) - (values[index] as number) })),
  };
}

const pointOf = (hook: string) => `${hook}.hook_sae_acts_post`;
