/**
 * Faithfulness: how much of the metric a circuit keeps when everything outside it is corrupted (Hanna et al. 2024, arXiv 2403.17806).
 *
 * One pass over the clean prompts computes node after node. What a node reads is the residual of the pass, in which every edge outside
 * the circuit carries the corrupted run's output instead: residual + sum over those edges of (corrupted - current output). Its queries, keys,
 * values or hidden layer gain what that changes. JavaScript hooks do it, so that each layer costs some ten readbacks.
 */
import { HookError } from "../../errors.ts";
import type { ModelSpec } from "../../model/spec.ts";
import * as s from "../../schema/schema.ts";
import { readCall } from "../call.ts";
import type { Edit } from "../edit.ts";
import type { HookedModel } from "../hooked-model.ts";
import { checkMetrics } from "../metrics.ts";
import { lastResidual } from "../patching/sites.ts";
import type { Hook } from "../plan.ts";
import type { ForwardResult } from "../result.ts";
import { CIRCUIT_GRAPH, CircuitGraph } from "./circuit-graph.ts";
import { NodeOutputs, outputPoints } from "./outputs.ts";
import {
  type CheckedPairOptions,
  edgesInto,
  PROMPT_PAIR_FIELDS,
  type PromptPair,
  type PromptPairOptions,
  runPair,
} from "./prompts.ts";
import { type LoadedReader, projectedChange, type Reader, readersOf } from "./readers.ts";

export const FAITHFULNESS_OPTIONS = s.object<PromptPairOptions, CheckedPairOptions>("the options of faithfulness", {
  ...PROMPT_PAIR_FIELDS,
} satisfies s.Fields<PromptPairOptions>);

/** How faithful a circuit is, and the metrics that say so, one for each sequence. */
export interface Faithfulness {
  /** (circuit - corrupted) / (clean - corrupted), of the means over the sequences: 1 for the whole graph, 0 for an empty one. */
  faithfulness: number;
  /** The metric of the circuit. */
  circuit: Float32Array;
  /** The metric of the clean run. */
  clean: Float32Array;
  /** The metric of the corrupted run. */
  corrupted: Float32Array;
}

/**
 * Runs a circuit and measures it.
 * @throws HookError `hook/other-model` for a graph of a model of another shape, `hook/same-metric` where clean and corrupted runs give the
 * same; as `edgeAttribution` otherwise
 */
export async function faithfulness(
  model: HookedModel,
  circuit: CircuitGraph,
  given: PromptPairOptions,
): Promise<Faithfulness> {
  const options = readCall("faithfulness", model, FAITHFULNESS_OPTIONS, given);
  s.readArgument(CIRCUIT_GRAPH, circuit, "faithfulness", "circuit");
  checkShape(model.spec, circuit);
  checkMetrics(options.metric, model.spec);
  const pair = await runPair(model, options);
  try {
    using run = await runCircuit(model, circuit, pair, options.signal);
    const measured = await measure(model, pair, run, options);
    const [ofCircuit, clean, corrupted] = [measured.circuit, measured.clean, measured.corrupted].map(mean) as [
      number,
      number,
      number,
    ];
    if (clean === corrupted)
      throw new HookError(
        "hook/same-metric",
        `The clean and the corrupted runs both give ${clean}. Choose prompts or a metric that tell them apart.`,
      );
    return { faithfulness: (ofCircuit - corrupted) / (clean - corrupted), ...measured };
  } finally {
    pair.destroy();
  }
}

const mean = (values: Float32Array) => values.reduce((sum, value) => sum + value, 0) / values.length;

/** @throws HookError `hook/other-model` */
function checkShape(spec: ModelSpec, { cfg }: CircuitGraph): void {
  const own = CircuitGraph.of(spec).cfg;
  const wrong = (Object.keys({ ...own, ...cfg }) as (keyof typeof cfg)[]).find((key) => own[key] !== cfg[key]);
  if (wrong === undefined) return;
  throw new HookError(
    "hook/other-model",
    `The graph has ${wrong} ${cfg[wrong] ?? "unset"}, this ${spec.family} model ${own[wrong] ?? "unset"}. Use a graph of the same model.`,
  );
}

/** The pass with the circuit alone; it captures the last residual, as the logits read it. */
async function runCircuit(
  model: HookedModel,
  circuit: CircuitGraph,
  pair: PromptPair,
  signal: AbortSignal | undefined,
): Promise<ForwardResult> {
  const { spec } = model;
  const outside = edgesInto(circuit);
  const outputs = await NodeOutputs.of(model);
  const corrupted = new Map<string, Float32Array>();
  for (const point of outputPoints(spec)) {
    const activation = await pair.corrupted.cache.read(point);
    for (const [name, output] of outputs.at(point, activation)) corrupted.set(name, output);
  }
  const current = new Map<string, Float32Array>();
  const residuals = new Map<string, Float32Array>();
  const hooks: Hook[] = outputPoints(spec).map((point) => [
    point,
    (activation) => {
      for (const [name, output] of outputs.at(point, activation.slice())) current.set(name, output);
    },
  ]);
  const readers = readersOf(model, circuit);
  for (const point of new Set(readers.map(({ residual }) => residual)))
    hooks.push([point, (activation) => void residuals.set(point, activation.slice())]);
  const change = (reader: Reader, loaded: LoadedReader) => {
    const edges = (outside.get(reader.name) ?? []).filter(({ inGraph }) => !inGraph);
    const before = residuals.get(reader.residual) as Float32Array;
    const after = Float64Array.from(before);
    for (const { source } of edges) addDifference(after, corrupted.get(source), current.get(source));
    return projectedChange(loaded, before, after, spec.dModel);
  };
  for (const point of new Set(readers.flatMap(({ projections }) => projections.map((each) => each.point)))) {
    const reading = readers.filter(({ projections }) => projections.some((each) => each.point === point));
    hooks.push([
      point,
      async (activation) => {
        for (const reader of reading) {
          const loaded = await reader.load();
          addChange(activation, loaded, point, change(reader, loaded));
        }
      },
    ]);
  }
  const last = lastResidual(spec);
  return model.runWithHooks(pair.cleanIds as number[][], hooks, {
    capture: last,
    stopAtLayer: spec.nLayers,
    ...(signal && { signal }),
  });
}

function addDifference(sum: Float64Array, to: Float32Array | undefined, from: Float32Array | undefined): void {
  for (let at = 0; at < sum.length; at++) sum[at] = (sum[at] as number) + (to?.[at] as number) - (from?.[at] as number);
}

/** Adds to a point, in place, what a reader's projections gain, each [rows, width]. */
function addChange(
  activation: Float32Array,
  { projections }: LoadedReader,
  point: string,
  changes: readonly Float32Array[],
): void {
  const index = projections.findIndex((each) => each.point === point);
  const { heads, head = 0, width } = projections[index] as LoadedReader["projections"][number];
  const change = changes[index] as Float32Array;
  for (let at = 0; at < change.length; at++) {
    const to = (Math.floor(at / width) * heads + head) * width + (at % width);
    activation[to] = (activation[to] as number) + (change[at] as number);
  }
}

/** The metrics that follow from the last residuals of the circuit's run, the clean and the corrupted one. */
async function measure(
  model: HookedModel,
  pair: PromptPair,
  run: ForwardResult,
  { metricPosition, signal }: PromptPairOptions,
): Promise<Omit<Faithfulness, "faithfulness">> {
  const at = lastResidual(model.spec);
  const measured = { circuit: [] as number[], clean: [] as number[], corrupted: [] as number[] };
  for (const [batch, ids] of pair.cleanIds.entries()) {
    const positions = [pair.ends[batch] as number];
    const cells = [run, pair.clean, pair.corrupted].map(({ cache }): Edit[] => [
      { at, op: "set", positions, value: cache.at(at, { batch }) },
    ]);
    const { values } = await model.sweep({
      input: [ids],
      cells,
      metric: pair.metrics[batch] as PromptPair["metrics"][number],
      position: metricPosition ?? -1,
      ...(signal && { signal }),
    });
    measured.circuit.push(values[0] as number);
    measured.clean.push(values[1] as number);
    measured.corrupted.push(values[2] as number);
  }
  return {
    circuit: Float32Array.from(measured.circuit),
    clean: Float32Array.from(measured.clean),
    corrupted: Float32Array.from(measured.corrupted),
  };
}
