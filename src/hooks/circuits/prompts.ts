/** What attribution and faithfulness share: clean and corrupted prompts, a metric of each, and what each node adds in both runs. */
import { HookError } from "../../errors.ts";
import type { ModelInput } from "../../model/input.ts";
import type { ModelSpec } from "../../model/spec.ts";
import * as s from "../../schema/schema.ts";
import type { HookedModel } from "../hooked-model.ts";
import { type CheckedMetric, METRICS, type Metric, metric } from "../metrics.ts";
import { PROMPT, sequencesOf } from "../patching/experiment.ts";
import { lastResidual, metricEnd } from "../patching/sites.ts";
import type { ForwardResult } from "../result.ts";
import type { CircuitGraph } from "./circuit-graph.ts";
import { refusePostNorms } from "./readers.ts";

/** The prompts of `edgeAttribution` and `faithfulness`, and what is measured. */
export interface PromptPairOptions {
  /** One sequence or several. */
  clean: ModelInput;
  /** As many sequences, each with as many tokens as its clean one. */
  corrupted: ModelInput;
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

/** The output of the embeddings: the first residual. */
export const INPUT_POINT = "blocks.0.hook_resid_pre";

/** The points that hold what nodes add. */
export function outputPoints({ nLayers, mlp }: ModelSpec): string[] {
  const inBlock = ["attn.hook_result", ...(mlp.absent ? [] : ["hook_mlp_out"])];
  const layers = Array.from({ length: nLayers }, (_, layer) => layer);
  return [INPUT_POINT, ...layers.flatMap((layer) => inBlock.map((name) => `blocks.${layer}.${name}`))];
}

/**
 * Runs both prompts, capturing what nodes add and the last residual.
 * @throws HookError `hook/patch-length` for prompts that differ in number or tokens, `hook/unsupported`, `hook/metric`
 */
export async function runPair(model: HookedModel, options: CheckedPairOptions): Promise<PromptPair> {
  model.assertOpen();
  refusePostNorms(model.spec);
  if (model.standing.length > 0)
    throw new HookError(
      "hook/unsupported",
      "Circuits do not apply the edits of withEdits(): what a node reads would not follow from the weights. Use the model itself.",
    );
  const cleanIds = sequencesOf(model, options.clean, "clean");
  const corruptedIds = sequencesOf(model, options.corrupted, "corrupted");
  checkLengths(cleanIds, corruptedIds);
  const given = options.metric;
  if (given.length !== 1 && given.length !== cleanIds.length)
    throw new HookError(
      "hook/metric",
      `There are ${given.length} metrics for ${cleanIds.length} sequences. Give one for all of them, or one for each.`,
    );
  const ends = cleanIds.map(({ length }) => metricEnd(options.metricPosition, length));
  const { signal } = options;
  const capture = [...outputPoints(model.spec), lastResidual(model.spec)];
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

function checkLengths(clean: readonly number[][], corrupted: readonly number[][]): void {
  if (clean.length !== corrupted.length)
    throw new HookError(
      "hook/patch-length",
      `There are ${clean.length} clean prompts and ${corrupted.length} corrupted ones. Give each clean prompt a corrupted one.`,
    );
  const bad = clean.findIndex(({ length }, index) => length !== corrupted[index]?.length);
  if (bad < 0) return;
  throw new HookError(
    "hook/patch-length",
    `Clean prompt ${bad} has ${clean[bad]?.length} tokens, the corrupted one ${corrupted[bad]?.length}. Patching needs prompts that agree position by position; reword one.`,
  );
}

/** What the nodes of a point add to the residual, each [rows, dModel], of the point's activation. */
export function outputsAt(spec: ModelSpec, point: string, activation: Float32Array): Map<string, Float32Array> {
  const layer = /^blocks\.(\d+)/.exec(point)?.[1];
  if (point === INPUT_POINT) return new Map([["input", activation]]);
  if (!point.endsWith("hook_result")) return new Map([[`m${layer}`, activation]]);
  const { nHeads, dModel } = spec;
  const { residualScale } = spec.block;
  const heads = Array.from({ length: nHeads }, () => new Float32Array(activation.length / nHeads));
  for (let at = 0; at < activation.length; at++) {
    const [d, head, row] = [at % dModel, Math.floor(at / dModel) % nHeads, Math.floor(at / dModel / nHeads)];
    (heads[head] as Float32Array)[row * dModel + d] = residualScale * (activation[at] as number);
  }
  return new Map(heads.map((output, head) => [`a${layer}.h${head}`, output]));
}

/** Whether a node's output is at a point. */
export function isOutputAt(point: string, node: string): boolean {
  const layer = /^blocks\.(\d+)/.exec(point)?.[1];
  if (point === INPUT_POINT) return node === "input";
  return point.endsWith("hook_result") ? node.startsWith(`a${layer}.`) : node === `m${layer}`;
}

/** Corrupted minus clean output of every node, [rows, dModel]. One point at a time is read of both runs. */
export async function outputDifferences({ spec }: HookedModel, pair: PromptPair): Promise<Map<string, Float32Array>> {
  const differences = new Map<string, Float32Array>();
  for (const point of outputPoints(spec)) {
    const clean = await pair.clean.cache.read(point);
    const difference = (await pair.corrupted.cache.read(point)).map((value, at) => value - (clean[at] as number));
    for (const [name, output] of outputsAt(spec, point, difference)) differences.set(name, output);
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
