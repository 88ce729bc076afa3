/**
 * The backward pass: gradients of a metric at any point, and of any weight.
 *
 * The graph of the forward pass, with its edits, is differentiated: what comes back is exact, as autograd's is, for the
 * model as it was edited. The gradient of a batch is that of the sum over its sequences; of `metric.loss`, of the mean.
 */
import { HookError, InputError } from "../errors.ts";
import type { Gpu } from "../gpu/gpu.ts";
import type { Tensor } from "../gpu/tensor.ts";
import {
  ENCODE_FIELDS,
  type EncodeInputOptions,
  isEmbeds,
  MODEL_INPUT,
  type ModelInput,
  type TextModel,
  type TokenInput,
} from "../model/input.ts";
import type { Model } from "../model/model.ts";
import type { RunOptions } from "../model/runner.ts";
import type { ModelSpec } from "../model/spec.ts";
import { WeightGradients } from "../model/weights/gradients.ts";
import { plainName, tensorsHolding } from "../model/weights/read.ts";
import { attentionWidths } from "../model/weights/table.ts";
import { parameterNames } from "../model/weights/tensors.ts";
import { widestAttentionGradient } from "../ops/attention.ts";
import type { CaptureTarget, PassHooks } from "../ops/bindings.ts";
import { editOp } from "../ops/edit-call.ts";
import { nearestNames } from "../schema/nearest.ts";
import * as s from "../schema/schema.ts";
import { ActivationCache } from "./activation-cache.ts";
import { type CheckedEdit, EDITS, type Edit } from "./edit.ts";
import { type MetricPlan, MetricSeed, planMetric } from "./metric-gradient.ts";
import { type CheckedMetric, METRICS, type Metric } from "./metrics.ts";
import { checkForward, checkReached, planPass, rowWidth } from "./plan.ts";
import { matcher, PATTERNS, type Point, type PointPattern, reachedPoints, TENSOR_PATTERNS } from "./points.ts";
import { zeroGradients } from "./zero-gradients.ts";

/** What to differentiate, and where. */
export interface BackwardOptions extends EncodeInputOptions {
  /** What is differentiated: one metric for every sequence, or one for each. */
  metric: Metric | readonly Metric[];
  /** Position whose logits are measured; negative from the end of each sequence. Default -1. Not for `metric.loss`. */
  position?: number;
  /** Points whose gradients are wanted: names, `*` patterns, regular expressions or predicates. */
  at?: PointPattern | readonly PointPattern[];
  /** Tensors of the checkpoint whose gradients are wanted, by the same kinds of patterns: `"*"` for all. */
  weights?: PointPattern | readonly PointPattern[];
  /** Keep activations and gradients of these positions alone; negative from the end. All when absent. */
  positions?: s.Indices;
  /** Interventions of the forward pass; the gradient is that of the edited model. */
  edits?: Edit | readonly Edit[];
  /** Keeps about a third of the activations and computes the others twice: less memory, some more time. */
  recompute?: boolean;
  /** Ends the call with `signal.reason`; what the GPU has begun, it finishes. */
  signal?: AbortSignal;
}

type CheckedBackwardOptions = Omit<BackwardOptions, "metric" | "at" | "weights" | "positions" | "edits"> & {
  at?: readonly PointPattern[];
  weights?: readonly PointPattern[];
  metric: readonly CheckedMetric[];
  positions?: readonly number[];
  edits?: readonly CheckedEdit[];
};

export const BACKWARD_OPTIONS = s.object<BackwardOptions, CheckedBackwardOptions>("the options of backward", {
  ...ENCODE_FIELDS,
  metric: s.required(METRICS),
  position: s.whole,
  at: PATTERNS,
  weights: TENSOR_PATTERNS,
  positions: s.indices,
  edits: EDITS,
  recompute: s.flag,
  signal: s.signal,
} satisfies s.Fields<BackwardOptions>);

/** What a backward pass gives. Works with `using`. */
export interface BackwardResult {
  /** The metric: [batch], or [1] of `metric.loss`. */
  value: Float32Array;
  /** The activations of the points `at`, as the metric saw them. */
  cache: ActivationCache;
  /** The metric's gradient at each of those points, with its name and shape. */
  grads: ActivationCache;
  /** The gradients of the chosen weights, by the checkpoint's names and in its shapes; always float32. */
  weights: WeightGradients;
  /** The points and weights whose gradient is 0 in every entry: the metric does not depend on them, or only beyond float32. */
  zeros: readonly string[];
  /** Frees all three. */
  destroy(): void;
  /** The end of a `using` block. */
  [Symbol.dispose](): void;
}

/** Runs a model forwards and backwards. `standing`: edits that come before those of the options. */
export async function backward(
  model: Model,
  standing: readonly CheckedEdit[],
  input: ModelInput,
  options: BackwardOptions,
): Promise<BackwardResult> {
  const read = s.readOptions(BACKWARD_OPTIONS, options, "backward");
  const edits = [...standing, ...(read.edits ?? [])];
  checkOptions(read, edits);
  const given = s.readArgument(MODEL_INPUT, input, "backward", "input");
  if (isEmbeds(given) && read.metric.some(({ kind }) => kind === "loss"))
    throw new HookError(
      "hook/metric",
      "metric.loss is of the next tokens, and embeddings have none. Use metric.logProb at a position.",
    );
  return model.withInput(given, read, async (ids, run) => {
    const plan = planMetric(ownReferences(read.metric, ids.length), ids, model.spec, checkPosition(read));
    const metric = await againstUnedited(model, standing, ids, run, plan);
    return runBackward(model, ids, run, metric, { ...read, edits });
  });
}

async function runBackward(
  model: Model,
  ids: readonly (readonly number[])[],
  run: RunOptions,
  metric: MetricPlan,
  read: CheckedBackwardOptions & { edits: readonly CheckedEdit[] },
): Promise<BackwardResult> {
  const { gpu, engine } = model;
  const names = chooseWeights(model, read.weights);
  const plan = planPass(model, ids, run, {
    capture: read.at,
    positions: read.positions,
    edits: read.edits,
    logits: "all",
  });
  const { cache } = plan;
  const held: { destroy(): void }[] = [cache];
  const destroy = () => {
    for (const each of held) each.destroy();
  };
  let seed: MetricSeed | undefined;
  try {
    const grads = zerosLike(gpu, cache);
    held.push(grads);
    const weights = new WeightGradients(gpu, engine.weights, names);
    held.push(weights);
    seed = new MetricSeed(gpu, metric);
    const logits = await model.run(ids, {
      ...run,
      ...plan.run,
      ...beginningAt(metric.from, model.spec, run, cache),
      hooks: withGradients(plan.run.hooks, grads, metric.from),
      widest: widestOf(model, ids, metric, plan.run.widest),
      logits: cache.names.includes("logits") ? "all" : metric.from ? "none" : metric.logits,
      backward: { seed: seed.record, weights, recompute: read.recompute },
    });
    logits.destroy();
    const value = await seed.read();
    assertNumbers(value);
    const zeros = await zeroGradients(gpu, grads, weights, run.signal);
    return { value, cache, grads, weights, zeros, destroy, [Symbol.dispose]: destroy };
  } catch (error) {
    destroy();
    throw error;
  } finally {
    seed?.destroy();
  }
}

/**
 * Token ids of a backward pass, checked with its metric, points and edits: all that can be known of a call without weights.
 * @throws InputError, HookError as `HookedModel.backward`
 */
export function checkBackward(
  model: TextModel & Pick<Model, "spec">,
  input: TokenInput,
  options: BackwardOptions,
): number[][] {
  const read = s.readOptions(BACKWARD_OPTIONS, options, "backward");
  checkOptions(read, read.edits ?? []);
  const { addBos, at, edits } = options;
  const ids = checkForward(model, input, { addBos, capture: at, edits });
  planMetric(read.metric, ids, model.spec, checkPosition(read));
  return ids;
}

/** @throws InputError `input/idle-option`; HookError `hook/metric`, `hook/no-gradient` */
function checkOptions(read: CheckedBackwardOptions, edits: readonly CheckedEdit[]): void {
  refuseUnknownGradients(edits);
  if (!read.at?.length && !read.weights?.length)
    throw new InputError(
      "input/idle-option",
      "backward: without at or weights nothing is asked for. Name the points or the weights whose gradients are wanted.",
    );
  if (!read.at?.length && read.positions)
    s.refuseIdle("backward", "positions", "without at: it says what is kept of the points");
  if (!read.edits?.length && read.metric.some(lacksReference))
    throw new HookError(
      "hook/metric",
      "Metric kl compares the run with the one without the edits given to backward, and none are given; those of a withEdits() scope are in both runs. Give edits, or the logits to compare with: metric.kl(logits).",
    );
}

const lacksReference = ({ kind, reference }: CheckedMetric) => kind === "kl" && reference === undefined;

/** A `kl()` for all sequences compares each with its own run: one each. */
function ownReferences(metrics: readonly CheckedMetric[], sequences: number): readonly CheckedMetric[] {
  const [only] = metrics;
  return only && metrics.length === 1 && lacksReference(only) ? Array.from({ length: sequences }, () => only) : metrics;
}

/** `kl()` without a reference compares each sequence with its run without the call's own edits, as sweeps do. */
async function againstUnedited(
  model: Model,
  standing: readonly CheckedEdit[],
  ids: number[][],
  run: RunOptions,
  metric: MetricPlan,
): Promise<MetricPlan> {
  const { metrics } = metric;
  if (!metrics.some(lacksReference)) return metric;
  const capacity = ids.reduce((sum, { length }) => sum + length, 0);
  const kv = model.createKvCache({ sequences: ids.length, capacity });
  try {
    const measured = { ...run, logits: metric.logits, kv };
    const plan = planPass(model, ids, measured, { edits: standing });
    const logits = await model.run(ids, { ...measured, ...plan.run });
    const each = metrics.map((own, sequence) =>
      lacksReference(own) ? logits.at(sequence, -1) : metric.references[sequence],
    );
    return { ...metric, references: await Promise.all(each).finally(() => logits.destroy()) };
  } finally {
    kv.destroy();
  }
}

/** @throws InputError `input/idle-option` for a position beside the loss, which has all. */
function checkPosition({ metric, position }: CheckedBackwardOptions): number {
  if (position !== undefined && metric.some(({ kind }) => kind === "loss"))
    s.refuseIdle("backward", "position", "beside metric.loss, which counts every position. Give it a mask");
  return position ?? -1;
}

/** @throws HookError `hook/no-gradient` */
export function refuseUnknownGradients(edits: readonly CheckedEdit[]): void {
  const unknown = edits.find(({ op }) => editOp(op).gradient === "unknown");
  if (!unknown) return;
  throw new HookError(
    "hook/no-gradient",
    `The edit at ${unknown.at} is an expression, whose derivative is not known. Say it with set, add, scale, zero, lerp or project_out.`,
  );
}

/** @throws HookError `hook/metric-value` */
function assertNumbers(values: Float32Array): void {
  const bad = values.findIndex((value) => !Number.isFinite(value));
  if (bad < 0) return;
  const whose = values.length > 1 ? ` of batch entry ${bad}` : "";
  throw new HookError(
    "hook/metric-value",
    `The metric${whose} is ${values[bad]}, and so would its gradients be. Look where activations stop being finite with model.runWithCache(input); if weights are no numbers, loadModel(source, { checkFinite: true }) names them.`,
  );
}

/** Tensors for the gradients of what a cache captures. */
function zerosLike(gpu: Gpu, cache: ActivationCache): ActivationCache {
  const tensors = new Map<string, Tensor>();
  const zeros = new ActivationCache(gpu, tensors, cache.positions);
  try {
    for (const name of cache.names) tensors.set(name, gpu.tensor(cache.shape(name), `gradient of ${name}`));
  } catch (error) {
    zeros.destroy();
    throw error;
  }
  return zeros;
}

/** @throws InputError `input/no-weight` for a pattern that matches nothing */
function chooseWeights({ engine, spec }: Model, patterns: readonly PointPattern[] = []): string[] {
  const names = parameterNames(engine.weights);
  const chosen = patterns.flatMap((pattern) => {
    const matching = names.filter(matcher(pattern));
    if (matching.length > 0) return matching;
    const held = typeof pattern === "string" ? tensorsHolding(engine, matcher(plainName(pattern))) : [];
    const [means] = held;
    const remedy = means
      ? `It is TransformerLens's name, and gradients of weights have the checkpoint's: take ${[...new Set(held)].slice(0, 3).join(", ")}.`
      : `Nearest: ${nearestNames(String(pattern), names, 3).join(", ")}.`;
    throw new InputError("input/no-weight", `"${pattern}" matches no tensor of this ${spec.family} model. ${remedy}`);
  });
  return names.filter((name) => chosen.includes(name));
}

const NO_HOOKS: PassHooks = { edits: [], captures: [], callbacks: [], positions: [], allPositions: [] };

/** The hooks of the pass with captures of gradients, and the point where the backward pass begins unless at the logits. */
function withGradients(
  hooks: PassHooks | undefined,
  grads: ActivationCache,
  from: Point | undefined,
): PassHooks | undefined {
  if (!hooks && !from) return undefined;
  const targets = grads.names.map((name): CaptureTarget => ({ name, tensor: grads.tensor(name), ofGradient: true }));
  const { captures, ...others } = hooks ?? NO_HOOKS;
  return { ...others, captures: [...captures, ...targets], seedAt: from?.name };
}

/** A pass whose metric is measured inside: every row is kept there, and it ends with the block where nobody looks further. */
function beginningAt(
  from: Point | undefined,
  spec: ModelSpec,
  { startAtLayer }: RunOptions,
  cache: ActivationCache,
): Partial<RunOptions> {
  if (!from) return {};
  const stopAtLayer = from.layer === undefined ? undefined : from.layer + 1;
  checkReached(spec, [from], { startAtLayer });
  const reached = reachedPoints(spec, { startAtLayer, stopAtLayer });
  return { everyRow: true, ...(cache.names.every((name) => reached.has(name)) && { stopAtLayer }) };
}

/** Elements of one row of the widest value of the backward pass. */
export function widestOf(
  { spec }: Model,
  ids: readonly (readonly number[])[],
  { logits, from }: MetricPlan,
  widest = 0,
): number {
  const longest = Math.max(...ids.map(({ length }) => length));
  const measured = from ? rowWidth(from, { spec, lengths: [1], starts: [0] }) : 0;
  return Math.max(
    widest,
    widestAttentionGradient(spec.nHeads, attentionWidths(spec), longest),
    logits === "all" ? spec.vocabSize : measured,
  );
}
