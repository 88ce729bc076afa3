/** Where a backward pass begins: the metric of each row of logits, and its gradient. */
import gradientSource from "../../shaders/metric_gradient.wgsl";
import metricNumbers from "../../shaders/metric_numbers.wgsl";
import normalizer from "../../shaders/normalizer.wgsl";
import reduce from "../../shaders/reduce.wgsl";
import { HookError } from "../errors.ts";
import type { Gpu } from "../gpu/gpu.ts";
import { defineKernel, u32 } from "../gpu/kernel.ts";
import { foldGrid, type Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { copy } from "../kernels/elementwise.ts";
import { reduceConstants } from "../kernels/launch.ts";
import { isPacked, packedView, type View } from "../kernels/view.ts";
import type { ModelSpec } from "../model/spec.ts";
import type { Bindings } from "../ops/bindings.ts";
import type { RowTable } from "../ops/rows.ts";
import { CHECKS, checkGradient, type ExpressionCall, recordExpression } from "./expression-metric.ts";
import { type CheckedMetric, gradientModeOf, numbersOf, readsLogits } from "./metrics.ts";
import { type Point, resolvePoint } from "./points.ts";

const METRIC_GRADIENT = defineKernel({
  name: "metric gradient",
  sources: [reduce, normalizer, metricNumbers, gradientSource],
  bindings: { logits: "read", entries: "read", reference: "read", values: "write", out: "write" },
  params: u32("rowCount", "vocab", "logitsStart"),
});

/** The mode of a metric that has a kernel of its own. */
const OWN_KERNEL = 6;

/** What a row of logits gives: `weight` times the metric of that mode. */
interface Entry {
  readonly mode: number;
  readonly token: number;
  /** The second token of a difference, or the metric's index, which is its row of the references. */
  readonly other: number;
  readonly weight: number;
}

const NOTHING: Entry = { mode: 0, token: 0, other: 0, weight: 0 };

/** A metric of each sequence at one position, or the cross entropy of them all. */
export interface MetricPlan {
  /** The point where the backward pass begins; undefined: the logits. */
  readonly from?: Point | undefined;
  /** Positions whose logits are needed. */
  readonly logits: "all" | number[];
  /** Values in the result: one a sequence, or one in all. */
  readonly values: number;
  entryOf(sequence: number, position: number): Entry;
  /** One for all sequences, or one each. */
  readonly metrics: readonly CheckedMetric[];
  /** [metrics, vocab]: what `kl` compares with, the factors of `weighted`, the weights of `wgsl`; vectors of projections. */
  readonly references: readonly (Float32Array | undefined)[];
}

/**
 * Checks metrics against the sequences.
 * @throws HookError `hook/metric`; `hook/position-range` for a position that a sequence does not have
 */
export function planMetric(
  metrics: readonly CheckedMetric[],
  ids: readonly (readonly number[])[],
  spec: ModelSpec,
  position: number,
): MetricPlan {
  const modes = metrics.map((metric) => gradientModeOf(metric, spec));
  const loss = metrics.find(({ kind }) => kind === "loss");
  if (loss) return planLoss(loss, metrics, ids);
  if (metrics.length !== 1 && metrics.length !== ids.length) {
    throw new HookError(
      "hook/metric",
      `There are ${metrics.length} metrics for ${ids.length} sequences. Give one for all of them, or one for each.`,
    );
  }
  const places = ids.map(({ length }, sequence) => {
    const place = position < 0 ? length + position : position;
    if (place >= 0 && place < length) return place;
    throw new HookError("hook/position-range", `Batch entry ${sequence} has ${length} positions, not ${position}.`);
  });
  const of = (sequence: number) => (metrics.length === 1 ? 0 : sequence);
  return {
    from: pointOf(spec, metrics),
    logits: [position],
    values: ids.length,
    metrics,
    references: metrics.map((metric) => numbersOf(metric, spec)),
    entryOf(sequence, at) {
      if (at !== places[sequence]) return NOTHING;
      const index = of(sequence);
      const { tokens, kind } = metrics[index] as CheckedMetric;
      const other = kind === "logitDiff" ? (tokens[1] as number) : index;
      return { mode: modes[index] as number, token: tokens[0] ?? 0, other, weight: 1 };
    },
  };
}

/** The point that all metrics project. @throws HookError `hook/metric` for metrics of several points */
function pointOf(spec: ModelSpec, metrics: readonly CheckedMetric[]): Point | undefined {
  const names = [...new Set(metrics.map((metric) => (readsLogits(metric) ? "logits" : (metric.at as string))))];
  if (names.length > 1)
    throw new HookError(
      "hook/metric",
      `A backward pass begins at one point, and the metrics measure ${names.join(" and ")}. Make a call for each.`,
    );
  const [name] = names as [string];
  return name === "logits" ? undefined : resolvePoint(spec, name);
}

/** The mean of minus the log probability of each counted token. */
function planLoss(
  { mask }: CheckedMetric,
  metrics: readonly CheckedMetric[],
  ids: readonly (readonly number[])[],
): MetricPlan {
  if (metrics.length > 1)
    throw new HookError("hook/metric", "metric.loss is one number for all sequences. Give it alone.");
  if (mask && mask.length !== ids.length)
    throw new HookError(
      "hook/metric",
      `The mask of metric.loss has ${mask.length} sequences, the input ${ids.length}.`,
    );
  const counts = (sequence: number, position: number) => {
    const { length } = ids[sequence] as readonly number[];
    return position + 1 < length && (mask === undefined || mask[sequence]?.[position] === true);
  };
  const last = mask?.findIndex((own, sequence) => own[(ids[sequence]?.length ?? 0) - 1] === true) ?? -1;
  if (last >= 0)
    throw new HookError(
      "hook/metric",
      `The mask of metric.loss counts the last position of sequence ${last}, which no token follows. Make that entry false, or leave it out.`,
    );
  for (const [sequence, { length }] of ids.entries())
    if ((mask?.[sequence]?.length ?? 0) > length)
      throw new HookError(
        "hook/metric",
        `The mask of metric.loss is longer than sequence ${sequence}, which has ${length} tokens.`,
      );
  const counted = ids.reduce((sum, list, sequence) => sum + list.filter((_, at) => counts(sequence, at)).length, 0);
  if (counted > 0) return crossEntropy(ids, counts, counted);
  throw new HookError(
    "hook/metric",
    "metric.loss counts no token: sequences need two tokens, and a mask an entry that is true.",
  );
}

/** The cross entropy of the next token over the positions that count, divided by `counted`; `ids` has the token after each. */
export function crossEntropy(
  ids: readonly (readonly number[])[],
  counts: (sequence: number, position: number) => boolean,
  counted: number,
): MetricPlan {
  return {
    logits: "all",
    values: 1,
    metrics: [],
    references: [],
    entryOf(sequence, position) {
      if (!counts(sequence, position)) return NOTHING;
      const token = ids[sequence]?.[position + 1] as number;
      return { mode: 2, token, other: 0, weight: -1 / counted };
    },
  };
}

/** Logits or an activation with one vector a row: a copy, where a row's heads are a part of a longer one. */
function wholeRows(recorder: Recorder, x: View, rows: number): View {
  const width = x.heads * x.width;
  if (isPacked(x)) return packedView(x.buffer, width, 1, x.start);
  const packed = packedView(recorder.temp(rows, x.heads, x.width), x.width, x.heads);
  copy(recorder, x, packed, rows);
  return packedView(packed.buffer, width);
}

/** Computes a plan's metric in the passes of one call. */
export class MetricSeed {
  readonly #passes: { values: Tensor; checks: Tensor | undefined; rows: RowTable }[] = [];
  readonly #references: Tensor;

  constructor(
    private readonly gpu: Gpu,
    private readonly plan: MetricPlan,
  ) {
    const width = Math.max(0, ...plan.references.map((reference) => reference?.length ?? 0));
    const data = new Float32Array(Math.max(4, plan.references.length * width));
    plan.references.forEach((reference, row) => {
      if (reference) data.set(reference, row * width);
    });
    this.#references = gpu.tensorFrom(data, [data.length], "references of a metric");
  }

  /** Records metric and gradient of the rows of a pass. */
  readonly record: NonNullable<Bindings["seed"]> = (recorder, x, rows, out) => {
    const { gpu } = this;
    const logits = wholeRows(recorder, x, rows.count);
    const values = gpu.tensor([Math.max(1, rows.count)], "values of a metric");
    const hasExpression = this.plan.metrics.some(({ kind }) => kind === "wgsl");
    const checks = hasExpression ? gpu.tensor([Math.max(1, rows.count), CHECKS], "checks of a metric") : undefined;
    this.#passes.push({ values, checks, rows });
    const entries = new Uint32Array(4 * rows.count);
    const weights = new Float32Array(entries.buffer);
    for (let row = 0; row < rows.count; row++) {
      const { token, other, mode, weight } = this.plan.entryOf(rows.sequence(row), rows.position(row));
      entries.set([token, other, 0, mode], 4 * row);
      weights[4 * row + 2] = weight;
    }
    recorder.dispatch(METRIC_GRADIENT, {
      params: { rowCount: rows.count, vocab: logits.width, logitsStart: logits.start },
      buffers: {
        logits: logits.buffer,
        entries: recorder.upload(entries),
        reference: this.#references,
        values,
        out: out.buffer,
      },
      workgroups: foldGrid(recorder.gpu, rows.count),
      constants: reduceConstants(recorder),
    });
    if (checks) this.#recordExpressions(recorder, logits, rows, { values, checks, out });
  };

  /** A dispatch for each metric that is an expression. */
  #recordExpressions(
    recorder: Recorder,
    logits: View,
    rows: RowTable,
    results: Pick<ExpressionCall, "values" | "checks" | "out">,
  ): void {
    const rowsOf = new Map<number, number[]>();
    for (const { row, index } of this.#measured(rows)) rowsOf.set(index, [...(rowsOf.get(index) ?? []), row]);
    const vocab = logits.width;
    for (const [index, own] of rowsOf) {
      const metric = this.plan.metrics[index] as CheckedMetric;
      const weights = { weights: this.#references, weightsStart: index * vocab };
      recordExpression(recorder, metric, { logits, rows: own, ...weights, ...results });
    }
  }

  /** The rows that an expression measures, and the index of its metric. */
  #measured(rows: RowTable): { row: number; index: number }[] {
    return Array.from({ length: rows.count }, (_, row) => {
      const { mode, other } = this.plan.entryOf(rows.sequence(row), rows.position(row));
      return { row, index: mode === OWN_KERNEL ? other : -1 };
    }).filter(({ index }) => index >= 0);
  }

  /**
   * The metric of each sequence, or of all. Waits for the GPU.
   * @throws HookError `hook/metric-value`, `hook/metric-gradient` for an expression
   */
  async read(): Promise<Float32Array> {
    const sums = new Float64Array(this.plan.values);
    for (const { values: tensor, checks, rows } of this.#passes) {
      const values = await tensor.read();
      if (checks) this.#check(values, await checks.read(), rows);
      for (let row = 0; row < rows.count; row++) {
        const index = this.plan.values === 1 ? 0 : rows.sequence(row);
        sums[index] = (sums[index] as number) + (values[row] as number);
      }
    }
    return Float32Array.from(sums);
  }

  #check(values: Float32Array, checks: Float32Array, rows: RowTable): void {
    for (const { row, index } of this.#measured(rows)) {
      const numbers = checks.subarray(row * CHECKS, (row + 1) * CHECKS);
      checkGradient(this.plan.metrics[index] as CheckedMetric, values[row] as number, numbers);
    }
  }

  destroy(): void {
    this.#references.destroy();
    for (const { values, checks } of this.#passes) {
      values.destroy();
      checks?.destroy();
    }
  }
}
