/** Where a backward pass begins: the metric of each row of logits, and its gradient. */
import gradientSource from "../../shaders/metric_gradient.wgsl";
import reduce from "../../shaders/reduce.wgsl";
import { HookError } from "../errors.ts";
import type { Gpu } from "../gpu/gpu.ts";
import { defineKernel, u32 } from "../gpu/kernel.ts";
import { foldGrid } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { reduceConstants } from "../kernels/launch.ts";
import type { Bindings } from "../ops/bindings.ts";
import type { RowTable } from "../ops/rows.ts";
import { type CheckedMetric, gradientModeOf } from "./metrics.ts";

const METRIC_GRADIENT = defineKernel({
  name: "metric gradient",
  sources: [reduce, gradientSource],
  bindings: { logits: "read", entries: "read", reference: "read", values: "write", out: "write" },
  params: u32("rowCount", "vocab", "logitsStart"),
});

/** What a row of logits gives: `weight` times the metric of that mode. */
interface Entry {
  readonly mode: number;
  readonly token: number;
  /** The second token of a difference, or the row of the references. */
  readonly other: number;
  readonly weight: number;
}

const NOTHING: Entry = { mode: 0, token: 0, other: 0, weight: 0 };

/** A metric of each sequence at one position, or the cross entropy of them all. */
export interface MetricPlan {
  /** Positions whose logits are needed. */
  readonly logits: "all" | number[];
  /** Values in the result: one a sequence, or one in all. */
  readonly values: number;
  entryOf(sequence: number, position: number): Entry;
  /** [rows, vocab]: what `kl` compares with, the factors of `weighted`. */
  readonly references: readonly (Float32Array | undefined)[];
}

/**
 * Checks metrics against the sequences.
 * @throws HookError `hook/metric`; `hook/position-range` for a position that a sequence does not have
 */
export function planMetric(
  metrics: readonly CheckedMetric[],
  ids: readonly (readonly number[])[],
  vocabSize: number,
  position: number,
): MetricPlan {
  const modes = metrics.map((metric) => gradientModeOf(metric, vocabSize));
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
    logits: [position],
    values: ids.length,
    references: metrics.map(({ reference }) => reference),
    entryOf(sequence, at) {
      if (at !== places[sequence]) return NOTHING;
      const index = of(sequence);
      const { tokens, kind } = metrics[index] as CheckedMetric;
      const other = kind === "logitDiff" ? (tokens[1] as number) : index;
      return { mode: modes[index] as number, token: tokens[0] ?? 0, other, weight: 1 };
    },
  };
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
    references: [],
    entryOf(sequence, position) {
      if (!counts(sequence, position)) return NOTHING;
      const token = ids[sequence]?.[position + 1] as number;
      return { mode: 2, token, other: 0, weight: -1 / counted };
    },
  };
}

/** Computes a plan's metric in the passes of one call. */
export class MetricSeed {
  readonly #values: { tensor: Tensor; rows: RowTable }[] = [];
  readonly #references: Tensor;

  constructor(
    private readonly gpu: Gpu,
    private readonly plan: MetricPlan,
    vocabSize: number,
  ) {
    const known = plan.references.some((reference) => reference !== undefined);
    const data = new Float32Array(known ? plan.references.length * vocabSize : 4);
    plan.references.forEach((reference, row) => {
      if (reference) data.set(reference, row * vocabSize);
    });
    this.#references = gpu.tensorFrom(data, [data.length], "references of a metric");
  }

  /** Records metric and gradient of the rows of a pass. */
  readonly record: NonNullable<Bindings["seed"]> = (recorder, logits, rows, out) => {
    const tensor = this.gpu.tensor([Math.max(1, rows.count)], "values of a metric");
    this.#values.push({ tensor, rows });
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
        values: tensor,
        out: out.buffer,
      },
      workgroups: foldGrid(recorder.gpu, rows.count),
      constants: reduceConstants(recorder),
    });
  };

  /** The metric of each sequence, or of all. Waits for the GPU. */
  async read(): Promise<Float32Array> {
    const sums = new Float64Array(this.plan.values);
    for (const { tensor, rows } of this.#values) {
      const values = await tensor.read();
      for (let row = 0; row < rows.count; row++) {
        const index = this.plan.values === 1 ? 0 : rows.sequence(row);
        sums[index] = (sums[index] as number) + (values[row] as number);
      }
    }
    return Float32Array.from(sums);
  }

  destroy(): void {
    this.#references.destroy();
    for (const { tensor } of this.#values) tensor.destroy();
  }
}
