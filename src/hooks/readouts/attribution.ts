/**
 * Direct logit attribution: how much a logit, or a logit difference, changes by what each component writes into the residual
 * stream. The final norm is applied with the run's own scale, which makes the logit a sum over components.
 */

import { HookError } from "../../errors.ts";
import type { Readback } from "../../gpu/readback.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { TOKEN_IDS } from "../../model/input.ts";
import { ABORT_FIELDS, type AbortOptions } from "../../model/long-call.ts";
import { nearestNames } from "../../schema/nearest.ts";
import * as s from "../../schema/schema.ts";
import type { HookedModel } from "../hooked-model.ts";
import { assertPlainResidual } from "../plain-residual.ts";
import { pointTable } from "../points.ts";
import { Decomposition } from "./decomposition.ts";
import { type LogitDirection, type LogitTarget, logitDirections, recordDots } from "./directions.ts";
import { readNeuronTerms, type Terms } from "./neurons.ts";
import { type Activations, type Need, type ReadoutSource, readSource, withActivations } from "./source.ts";

const TARGETS_TAKE = "a token id, two for a difference, or a list of such lists";
const TARGETS = s.byForm<AttributionOptions["tokens"]>(TARGETS_TAKE, (value) => {
  if (!s.isListLike(value)) return typeof value === "number" ? s.ranged("a token id") : undefined;
  const perEntry = Array.from(value).some(s.isListLike);
  return perEntry ? (s.list("lists of token ids", TOKEN_IDS) as s.Schema<AttributionOptions["tokens"]>) : TOKEN_IDS;
});

/** Options of `directLogitAttribution`. */
export interface AttributionOptions extends AbortOptions {
  /** A token: its logit. [a] the same, [a, b]: logit(a) - logit(b). A list of such lists: one for each entry of the batch. */
  tokens: number | s.NumberList | readonly s.NumberList[];
  /** Position whose logits are explained; negative from the end of each sequence. Default -1. */
  position?: number;
  /**
   * `component` (default): embeddings, attention and MLP of each block. `head`: attention by head, `L0H3`, its bias apart.
   * `neuron`: MLPs by neuron, `L0N17`, their biases apart.
   */
  by?: "component" | "head" | "neuron";
}

export const ATTRIBUTION_OPTIONS = s.object<AttributionOptions>("the options of directLogitAttribution", {
  tokens: s.required(TARGETS),
  position: s.whole,
  by: s.oneOf("component", "head", "neuron"),
  ...ABORT_FIELDS,
});

/** What each component adds to a logit, or to the difference of two. The contributions add up to `total` less `remainder`. */
export interface LogitAttribution {
  /** As `decomposeResid`, then neurons, then `ln_final_bias` and `unembed_bias` where the model has them. */
  labels: readonly string[];
  /** [component, batch]; a component's contribution in units of the logit. */
  values: Float64Array;
  batch: number;
  /** The logit or logit difference of the run, before the soft cap, [batch]. */
  total: Float64Array;
  /** Total minus the sum of the values, [batch]. Rounding, unless the run had edits of the residual itself, which no component explains. */
  remainder: Float64Array;
  /** The unembedding's soft cap: the model's logit is cap * tanh(logit / cap), of which `total` explains the inside. */
  softCap: number | null;
  /** One contribution. @throws HookError `hook/no-such-component`. */
  at(label: string, batch?: number): number;
  /** The `count` contributions of a batch entry that are largest in magnitude. */
  top(count?: number, batch?: number): { label: string; value: number }[];
}

/**
 * Each component's contribution to a logit or logit difference at one position. Contributions sum to the run's logit
 * before the soft cap (`total`); the unembedding's scale (cohere, granite) is in every contribution.
 *
 * For the residual x = sum of components c, the final norm's scale s of the run, weight w and bias b:
 * value(c) = scale * W_U[t] · (w * centre(c)) / s, centred where the norm is a LayerNorm; and the constants
 * scale * W_U[t] · b (`ln_final_bias`) and scale * b_U[t] (`unembed_bias`).
 * @throws HookError `hook/token-range`, `hook/position-range`, or for a cache that lacks what is read.
 */
export async function directLogitAttribution(
  model: HookedModel,
  from: ReadoutSource,
  given: AttributionOptions,
): Promise<LogitAttribution> {
  const { source, options } = readSource("directLogitAttribution", model, from, ATTRIBUTION_OPTIONS, given);
  assertPlainResidual(model.spec, "directLogitAttribution");
  const { spec } = model;
  const { by = "component", position = -1, signal } = options;
  const listed = targetLists(options.tokens);
  const directions = await logitDirections(model, listed.targets);
  const parts = { layer: spec.nLayers, heads: by === "head", mlps: by !== "neuron" };
  const plan = new Decomposition(spec, model.engine.weights, parts);
  const also = [...readPoints(model), ...(by === "neuron" ? neuronPoints(model) : [])];
  const points: Need["points"] = (held) => [...plan.points(held), ...also];
  return withActivations(model, source, { points, positions: [position], signal }, async (activations) => {
    const { batch } = activations;
    const targets = targetOfEntry(listed, batch);
    const ofRow = targets.map((target) => directions[target] as LogitDirection);
    const read = await readDots(model, activations, plan, directions);
    const neurons = by === "neuron" ? await readNeuronTerms(model, activations, directions, targets) : [];
    const terms: Terms[] = [
      { labels: plan.labels, value: (component, row) => read.component(component, row, targets[row] as number) },
      ...neurons.map(
        (layer): Terms => ({ ...layer, value: (index, row) => layer.value(index, row) / read.scale(row) }),
      ),
      ...constantTerms(model, ofRow),
    ];
    const total = Float64Array.from({ length: batch }, (_, row) => read.total(row, targets[row] as number));
    return attribution(terms, total, spec.unembed.softCap);
  });
}

interface ListedTargets {
  targets: LogitTarget[];
  perEntry: boolean;
}

function targetLists(tokens: AttributionOptions["tokens"]): ListedTargets {
  const list = typeof tokens === "number" ? [tokens] : tokens;
  const perEntry = (list as readonly unknown[]).some(s.isListLike);
  const targets = (perEntry ? (list as readonly (readonly number[])[]) : [list as readonly number[]]).map((pair) => {
    const [token, minus] = pair;
    if (token === undefined || pair.length > 2 || (pair.length === 2 && minus === undefined)) {
      throw new HookError(
        "hook/attribution-target",
        `tokens is [${pair.map(String).join(", ")}], where one token, or two for a difference, belong.`,
      );
    }
    return { token, minus };
  });
  return { targets, perEntry };
}

/** Index of the target of each batch entry. */
function targetOfEntry({ targets, perEntry }: ListedTargets, batch: number): number[] {
  if (perEntry && targets.length !== batch) {
    throw new HookError(
      "hook/attribution-target",
      `tokens has ${targets.length} lists for a batch of ${batch}. Give one for each, or one for all.`,
    );
  }
  return Array.from({ length: batch }, (_, entry) => (perEntry ? entry : 0));
}

/** The points that show what the unembedding read. */
function readPoints({ spec }: HookedModel): string[] {
  if (spec.norm.kind === "none") return [`blocks.${spec.nLayers - 1}.hook_resid_post`];
  return ["ln_final.hook_scale", "ln_final.hook_normalized"];
}

function neuronPoints({ spec }: HookedModel): string[] {
  return spec.layers.map((_, layer) => `blocks.${layer}.mlp.hook_post`).filter((name) => pointTable(spec).has(name));
}

/** Dot products of all components, and of what the unembedding read, with all directions. */
async function readDots(
  model: HookedModel,
  activations: Activations,
  plan: Decomposition,
  directions: readonly LogitDirection[],
) {
  const { spec } = model;
  const { batch } = activations;
  const [scalePoint, normalizedPoint = scalePoint as string] = readPoints(model);
  const components = plan.labels.length;
  const hasNorm = spec.norm.kind !== "none";
  const read = await model.engine.record("logit attribution", (recorder) => {
    const stack = recorder.temp(components, batch, 1, spec.dModel);
    plan.record(recorder, activations, stack);
    const dots = (x: Tensor, rows: number, side: "residual" | "normalized"): Readback => {
      const ofSide = directions.map((direction) => direction[side]);
      return recorder.readback(recordDots(recorder, x, rows, ofSide));
    };
    return {
      components: dots(stack, components * batch, "residual"),
      normalized: dots(activations.packed(recorder, normalizedPoint), batch, "normalized"),
      scales: hasNorm ? recorder.readback(activations.packed(recorder, scalePoint as string)) : undefined,
    };
  });
  const componentDots = new Float32Array(read.components.bytes);
  const normalizedDots = new Float32Array(read.normalized.bytes);
  const scales = read.scales && new Float32Array(read.scales.bytes);
  const scale = (row: number) => scales?.[row] ?? 1;
  return {
    scale,
    component: (component: number, row: number, target: number) =>
      (componentDots[(component * batch + row) * directions.length + target] as number) / scale(row),
    total: (row: number, target: number) => {
      const { fromNormBias, fromUnembedBias } = directions[target] as LogitDirection;
      return (normalizedDots[row * directions.length + target] as number) + fromNormBias + fromUnembedBias;
    },
  };
}

/** What does not depend on the input, where the model has it. */
function constantTerms(model: HookedModel, ofRow: readonly LogitDirection[]): Terms[] {
  const { lnFinal, b_U } = model.engine.weights;
  const terms: Terms[] = [];
  if (lnFinal?.b && model.spec.norm.kind !== "none")
    terms.push({ labels: ["ln_final_bias"], value: (_, row) => ofRow[row]?.fromNormBias as number });
  if (b_U) terms.push({ labels: ["unembed_bias"], value: (_, row) => ofRow[row]?.fromUnembedBias as number });
  return terms;
}

const ENTRY = (batch: number) =>
  s.simple<number>(`a whole number from 0 to ${batch - 1}`, (value) => s.isWhole(value, 0, batch - 1));

function attribution(terms: readonly Terms[], total: Float64Array, softCap: number | null): LogitAttribution {
  const batch = total.length;
  const labels = terms.flatMap((term) => term.labels);
  const values = new Float64Array(labels.length * batch);
  let at = 0;
  for (const term of terms) {
    term.labels.forEach((_, index) => {
      for (let row = 0; row < batch; row++) values[at++] = term.value(index, row);
    });
  }
  const remainder = total.map((value, row) =>
    labels.reduce((left, _, index) => left - (values[index * batch + row] as number), value),
  );
  const one = (label: string, entry = 0) => {
    s.readArgument(s.whole, entry, "LogitAttribution.at", "batch");
    const index = labels.indexOf(s.readArgument(s.text, label, "LogitAttribution.at", "label"));
    if (index >= 0 && entry >= 0 && entry < batch) return values[index * batch + entry] as number;
    const near = nearestNames(label, labels, 3).join(", ");
    throw new HookError(
      "hook/no-such-component",
      `There is no contribution of "${label}" in batch entry ${entry}. Nearest: ${near}; the batch has ${batch}.`,
    );
  };
  const top = (count = 10, entry = 0) => {
    s.readArgument(ENTRY(batch), entry, "LogitAttribution.top", "batch");
    s.readArgument(s.wholeFrom(1), count, "LogitAttribution.top", "count");
    return labels
      .map((label, index) => ({ label, value: values[index * batch + entry] as number }))
      .sort((a, b) => Math.abs(b.value) - Math.abs(a.value))
      .slice(0, count);
  };
  return { labels, values, batch, total, remainder, softCap, at: one, top };
}
