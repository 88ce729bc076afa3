/** What attribution and faithfulness share: clean and corrupted prompts, a metric of each, and what each node adds in both runs. */
import { HookError } from "../../errors.ts";
import { type TokenInput, toIds } from "../../model/input.ts";
import * as s from "../../schema/schema.ts";
import type { HookedModel } from "../hooked-model.ts";
import { type CheckedMetric, METRICS, type Metric, metric, readsLogits } from "../metrics.ts";
import { checkPair, PROMPT } from "../patching/experiment.ts";
import { lastResidual, metricEnd } from "../patching/sites.ts";
import type { ForwardResult } from "../result.ts";
import type { CircuitGraph } from "./circuit-graph.ts";
import { NodeOutputs, outputPoints, refuseNormedBias, summedPoints } from "./outputs.ts";

/** The prompts of `edgeAttribution` and `faithfulness`, and what is measured. */
export interface PromptPairOptions {
  /** One sequence or several. */
  clean: TokenInput;
  /** As many sequences, each with as many tokens as its clean one. */
  corrupted: TokenInput;
  /** One metric for every sequence, or one for each; one number each. `kl` without a reference compares with the clean run. */
  metric: Metric | readonly Metric[];
  /** Position whose logits are measured; negative from the end of each sequence. Default -1. */
  metricPosition?: number;
  /** Ends the call with `signal.reason`; what the GPU has begun, it finishes. */
  signal?: AbortSignal;
}

export type CheckedPairOptions = Omit<PromptPairOptions, "metric"> & { metric: readonly CheckedMetric[] };

export const PROMPT_PAIR_FIELDS = {
  clean: PROMPT,
  corrupted: PROMPT,
  metric: s.required(METRICS),
  metricPosition: s.whole,
  signal: s.signal,
} as const satisfies s.Fields<PromptPairOptions>;

/** Both runs, their captures on the GPU. */
export interface PromptPair {
  readonly cleanIds: readonly number[][];
  readonly corruptedIds: readonly number[][];
  readonly clean: ForwardResult;
  readonly corrupted: ForwardResult;
  /** One for each sequence. */
  readonly metrics: readonly Metric[];
  /** The measured position of each sequence. */
  readonly ends: readonly number[];
  destroy(): void;
}

/**
 * Runs both prompts, capturing what nodes add and the last residual.
 * @throws HookError `hook/patch-length` for prompts that differ in number or length, `hook/same-prompts` for a pair that does
 * not differ, `hook/unsupported`, `hook/metric`
 */
export async function runPair(model: HookedModel, options: CheckedPairOptions): Promise<PromptPair> {
  model.assertOpen();
  refuseNormedBias(model.spec);
  if (model.standing.length > 0)
    throw new HookError(
      "hook/unsupported",
      "Circuits do not apply the edits of withEdits(): what a node reads would not follow from the weights. Use the model itself.",
    );
  const cleanIds = toIds(options.clean, model);
  const corruptedIds = toIds(options.corrupted, model);
  checkPairs(cleanIds, corruptedIds);
  const given = options.metric;
  if (given.length !== 1 && given.length !== cleanIds.length)
    throw new HookError(
      "hook/metric",
      `There are ${given.length} metrics for ${cleanIds.length} sequences. Give one for all of them, or one for each.`,
    );
  if (!given.every(readsLogits))
    throw new HookError(
      "hook/metric",
      "A circuit's graph ends at the logits, and metric.project measures a point inside. Take a metric of the logits.",
    );
  const ends = cleanIds.map(({ length }) => metricEnd(options.metricPosition, length));
  const { signal } = options;
  const capture = [...new Set([...outputPoints(model.spec), ...summedPoints(model.spec), lastResidual(model.spec)])];
  const clean = await model.forward(cleanIds, { capture, logits: [options.metricPosition ?? -1], signal });
  try {
    const corrupted = await model.forward(corruptedIds, { capture, logits: "none", signal });
    const destroy = () => {
      clean.destroy();
      corrupted.destroy();
    };
    const metrics: Metric[] = [];
    for (const index of cleanIds.keys()) {
      const each = given[given.length === 1 ? 0 : index] as CheckedMetric;
      const isAgainstClean = each.kind === "kl" && !each.reference;
      metrics.push(isAgainstClean ? metric.kl(await clean.logits.at(index, -1)) : each);
    }
    return { cleanIds, corruptedIds, clean, corrupted, metrics, ends, destroy };
  } catch (error) {
    clean.destroy();
    throw error;
  }
}

function checkPairs(clean: readonly number[][], corrupted: readonly number[][]): void {
  if (clean.length !== corrupted.length)
    throw new HookError(
      "hook/patch-length",
      `There are ${clean.length} clean prompts and ${corrupted.length} corrupted ones. Give each clean prompt a corrupted one.`,
    );
  for (const [index, ids] of clean.entries())
    checkPair(`clean prompt ${index}`, ids, "corrupted one", corrupted[index] as number[]);
}

/** Corrupted minus clean output of every node, [rows, dModel]. One point at a time is read of both runs. */
export async function outputDifferences(model: HookedModel, pair: PromptPair): Promise<Map<string, Float32Array>> {
  const outputs = await NodeOutputs.of(model);
  const differences = new Map<string, Float32Array>();
  for (const point of outputPoints(model.spec)) {
    const clean = outputs.at(point, await pair.clean.cache.read(point));
    for (const [name, output] of outputs.at(point, await pair.corrupted.cache.read(point))) {
      const before = clean.get(name) as Float32Array;
      differences.set(
        name,
        output.map((value, at) => value - (before[at] as number)),
      );
    }
  }
  return differences;
}

/** The edges into each input, by its name. */
export function edgesInto(graph: CircuitGraph): Map<string, { name: string; source: string; inGraph: boolean }[]> {
  const edges = new Map<string, { name: string; source: string; inGraph: boolean }[]>(
    graph.inputs.map(({ name }) => [name, []]),
  );
  for (const edge of graph.edges.values()) edges.get(edge.input)?.push(edge);
  return edges;
}
