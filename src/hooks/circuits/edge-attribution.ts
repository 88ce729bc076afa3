/**
 * Edge attribution: what the metric would gain if one edge of the graph carried the corrupted run's output.
 *
 * `exact` patches each edge alone and measures. The others take it to first order, (corrupted - clean output of the source) times the
 * metric's gradient at what the target alone reads, and differ in where the gradient is taken:
 *
 *   eap                 at the clean run (Syed et al. 2023, arXiv 2310.10348); wrong where the metric saturates
 *   eap-ig-inputs       averaged between corrupted and clean embeddings (Hanna et al. 2024, arXiv 2403.17806)
 *   eap-ig-activations  averaged between corrupted and clean output of the edge's own source (all heads of a layer together)
 *
 * A node's score is that of all its edges together: to first order their sum; `exact` patches its whole output.
 */

import { HookError } from "../../errors.ts";
import { LONG_CALL_FIELDS, type LongCallOptions, reportProgress } from "../../model/long-call.ts";
import * as s from "../../schema/schema.ts";
import { readCall } from "../call.ts";
import type { Edit } from "../edit.ts";
import type { HookedModel } from "../hooked-model.ts";
import { type CheckedMetric, checkMetrics } from "../metrics.ts";
import { assertPlainResidual } from "../plain-residual.ts";
import { CircuitGraph } from "./circuit-graph.ts";
import { heldByLayer } from "./held.ts";
import { INPUT_POINT, isOutputAt, summedPoints } from "./outputs.ts";
import {
  type CheckedPairOptions,
  edgesInto,
  outputDifferences,
  PROMPT_PAIR_FIELDS,
  type PromptPair,
  type PromptPairOptions,
  runPair,
} from "./prompts.ts";
import { pointsOf, projectedChange, type Reader, readersOf, residualGradient } from "./readers.ts";

/** Options of `edgeAttribution`. */
export interface EdgeAttributionOptions extends PromptPairOptions, LongCallOptions {
  /** How edges are scored. Default "eap-ig-inputs". */
  method?: "eap" | "eap-ig-inputs" | "eap-ig-activations" | "exact";
  /** Gradients along the path of the eap-ig methods, at the middles of as many equal parts. Default 5. */
  steps?: number;
}

type CheckedAttributionOptions = CheckedPairOptions & Pick<EdgeAttributionOptions, "method" | "steps" | "onProgress">;

export const EDGE_ATTRIBUTION_OPTIONS = s.object<EdgeAttributionOptions, CheckedAttributionOptions>(
  "the options of edgeAttribution",
  {
    ...PROMPT_PAIR_FIELDS,
    method: s.oneOf("eap", "eap-ig-inputs", "eap-ig-activations", "exact"),
    steps: s.wholeFrom(1),
    ...LONG_CALL_FIELDS,
  } satisfies s.Fields<EdgeAttributionOptions>,
);

/** What scores are computed from. */
interface Attribution {
  readonly model: HookedModel;
  readonly options: CheckedAttributionOptions;
  readonly pair: PromptPair;
  readonly readers: readonly Reader[];
  /** Corrupted minus clean output of each node, [rows, dModel]. */
  readonly differences: ReadonlyMap<string, Float32Array>;
  readonly edges: ReturnType<typeof edgesInto>;
  /** By edge, and with `exact` by node; means over the sequences. */
  readonly scores: Map<string, number>;
}

/**
 * Scores every edge. The outputs of all nodes are read to the host, and weights a layer at a time: norms and projections run there.
 * @throws HookError `hook/unsupported` for models that norm a bias together with their heads, and in a `withEdits` scope;
 * `hook/patch-length`, `hook/same-prompts`; `hook/metric` for the loss, and for `kl` with `eap`, whose gradient is 0;
 * `hook/circuit-scores` for scores that are NaN or infinite
 */
export async function edgeAttribution(model: HookedModel, given: EdgeAttributionOptions): Promise<CircuitGraph> {
  const options = readCall("edgeAttribution", model, EDGE_ATTRIBUTION_OPTIONS, given);
  assertPlainResidual(model.spec, "edgeAttribution");
  const { method = "eap-ig-inputs", steps } = options;
  const isPath = method.startsWith("eap-ig");
  if (steps !== undefined && !isPath)
    s.refuseIdle("edgeAttribution", "steps", `beside method "${method}", which has no path`);
  refuseMetrics(options.metric, method);
  if (method === "exact") checkMetrics(options.metric, model.spec);
  const pair = await runPair(model, options);
  try {
    const graph = CircuitGraph.of(model.spec);
    const differences = await outputDifferences(model, pair);
    refuseBroken(differences);
    const attribution: Attribution = {
      ...{ model, options, pair, differences },
      readers: readersOf(model, graph),
      edges: edgesInto(graph),
      scores: new Map(),
    };
    if (method === "exact") await scoreExactly(attribution);
    else await scoreByGradients(attribution, [...pathOf(attribution, method, steps ?? 5)]);
    const { scores } = attribution;
    const scored = graph.withScores(
      ({ name }) => scores.get(name) ?? 0,
      ({ name }) => scores.get(name) ?? sumOfEdges(graph, scores, name),
    );
    scored.assertFinite("an activation, a gradient or the metric is no finite number on one of the prompts");
    return scored;
  } finally {
    pair.destroy();
  }
}

/** The score of a node to first order; none of the logits, from which no edge leads. */
function sumOfEdges(graph: CircuitGraph, scores: Attribution["scores"], node: string): number | undefined {
  const edges = [...graph.edges.values()].filter(({ source }) => source === node);
  return edges.length > 0 ? edges.reduce((sum, { name }) => sum + (scores.get(name) ?? 0), 0) : undefined;
}

/** @throws HookError `hook/metric` */
function refuseMetrics(metrics: readonly CheckedMetric[], method: string): void {
  for (const { kind, reference } of metrics) {
    if (kind === "loss")
      throw new HookError(
        "hook/metric",
        "edgeAttribution measures one position, and metric.loss counts them all. Use logit, logitDiff, logProb, prob or kl.",
      );
    if (kind === "kl" && !reference && method === "eap")
      throw new HookError(
        "hook/metric",
        'The distance of the clean run from itself has gradient 0, so method "eap" would score rounding. Use "eap-ig-inputs" or "eap-ig-activations", or give metric.kl(logits).',
      );
  }
}

/** @throws HookError `hook/circuit-scores` for a node whose output is NaN or infinite, which no edge of it could be scored by */
function refuseBroken(differences: Attribution["differences"]): void {
  for (const [name, values] of differences)
    if (!values.every(Number.isFinite))
      throw new HookError(
        "hook/circuit-scores",
        `The output of node ${name} is NaN or infinite on one of the prompts, so its edges have no finite score. Look where the model's activations stop being finite, with model.runWithCache().`,
      );
}

/** A run at which gradients are taken. */
interface PathPoint {
  readonly edits: readonly Edit[];
  /** The sources whose edges count it. */
  readonly sources: (name: string) => boolean;
  readonly weight: number;
}

function* pathOf({ model, pair }: Attribution, method: string, steps: number): Generator<PathPoint> {
  if (method === "eap") {
    yield { edits: [], sources: () => true, weight: 1 };
    return;
  }
  const ofInputs = method === "eap-ig-inputs";
  for (const point of ofInputs ? [INPUT_POINT] : summedPoints(model.spec)) {
    const sources = (name: string) => ofInputs || isOutputAt(point, name);
    const value = pair.corrupted.cache.at(point);
    for (let step = 0; step < steps; step++)
      yield { edits: [{ at: point, op: "lerp", value, alpha: (step + 0.5) / steps }], sources, weight: 1 / steps };
  }
}

/** One run after the other along the path. */
async function scoreByGradients(attribution: Attribution, path: readonly PathPoint[]): Promise<void> {
  for (const [index, point] of path.entries()) {
    await scoreByGradient(attribution, point);
    await reportProgress(attribution.options, index + 1, path.length);
  }
}

/** Adds to the scores what one run gives: difference times gradient, summed over positions. */
async function scoreByGradient(attribution: Attribution, { edits, sources, weight }: PathPoint): Promise<void> {
  const { model, options, pair, readers, differences, edges, scores } = attribution;
  const { dModel } = model.spec;
  const run = await model.backward(pair.cleanIds as number[][], {
    metric: pair.metrics,
    position: options.metricPosition ?? -1,
    at: [...new Set(readers.flatMap(pointsOf))],
    edits,
    ...(options.signal && { signal: options.signal }),
  });
  const [heldActivation, heldGradient] = [heldByLayer(), heldByLayer()];
  try {
    for (const reader of readers) {
      const read = (edges.get(reader.name) ?? []).filter(({ source }) => sources(source));
      if (read.length === 0) continue;
      const { layer } = reader;
      const residual = await heldActivation(layer, reader.residual, () => run.cache.read(reader.residual));
      const gradients = [];
      for (const { point } of reader.projections)
        gradients.push(await heldGradient(layer, point, () => run.grads.read(point)));
      const gradient = residualGradient(await reader.load(), residual, gradients, dModel);
      for (const { name, source } of read) {
        const gain = dot(differences.get(source) as Float32Array, gradient);
        scores.set(name, (scores.get(name) ?? 0) + (weight * gain) / pair.cleanIds.length);
      }
    }
  } finally {
    run.destroy();
  }
}

function dot(a: Float32Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] as number) * (b[i] as number);
  return sum;
}

/**
 * One sweep a sequence, with a cell for every edge and every node: an edge's reader's projections gain what the patched residual changes
 * there, and where a node adds to the residual it adds its corrupted output.
 */
async function scoreExactly({ model, options, pair, readers, differences, edges, scores }: Attribution): Promise<void> {
  const { dModel } = model.spec;
  const longest = Math.max(...pair.cleanIds.map(({ length }) => length));
  const residuals = await residualsOf({ model, options, pair, readers });
  for (const [sequence, ids] of pair.cleanIds.entries()) {
    const start = sequence * longest * dModel;
    const rowsOf = (values: Float32Array) => values.subarray(start, start + ids.length * dModel);
    const cells: { name: string; edits: Edit[] }[] = [];
    for (const [name, difference] of differences) {
      const at = summedPoints(model.spec).find((point) => isOutputAt(point, name)) as string;
      cells.push({ name, edits: [{ at, op: "add", value: rowsOf(difference) }] });
    }
    for (const reader of readers) {
      const before = rowsOf(residuals.get(reader.residual) as Float32Array);
      const loaded = await reader.load();
      for (const { name, source } of edges.get(reader.name) ?? []) {
        const difference = rowsOf(differences.get(source) as Float32Array);
        const after = Float64Array.from(before, (value, at) => value + (difference[at] as number));
        cells.push({ name, edits: editsOf(reader, projectedChange(loaded, before, after, dModel)) });
      }
    }
    const { values, base } = await model.sweep({
      input: [ids],
      cells: cells.map(({ edits }) => edits),
      metric: pair.metrics[sequence] as PromptPair["metrics"][number],
      position: options.metricPosition ?? -1,
      ...(options.signal && { signal: options.signal }),
    });
    cells.forEach(({ name }, index) => {
      const gain = (values[index] as number) - (base[0] as number);
      scores.set(name, (scores.get(name) ?? 0) + gain / pair.cleanIds.length);
    });
    await reportProgress(options, sequence + 1, pair.cleanIds.length);
  }
}

function editsOf({ projections }: Reader, changes: readonly Float32Array[]): Edit[] {
  return projections.map(({ point, head }, index) => ({
    at: point,
    op: "add",
    value: changes[index] as Float32Array,
    ...(head !== undefined && { heads: [head] }),
  }));
}

/** The clean residuals that readers read, from one more pass. */
async function residualsOf({
  model,
  options: { signal },
  pair,
  readers,
}: Pick<Attribution, "model" | "options" | "pair" | "readers">): Promise<Map<string, Float32Array>> {
  const points = [...new Set(readers.map(({ residual }) => residual))];
  using run = await model.forward(pair.cleanIds as number[][], {
    capture: points,
    logits: "none",
    ...(signal && { signal }),
  });
  const residuals = new Map<string, Float32Array>();
  for (const point of points) residuals.set(point, await run.cache.read(point));
  return residuals;
}
