/**
 * Sweeps: thousands of edited forward passes, exactly, at the cost of what the edits can change.
 *
 * One base run stores keys, values and the residual before each block. Each cell then computes only the rows that its edits
 * affect (`graph/reach.ts`). These rows take their residual from the base run at the layer where they join. For earlier
 * positions they read the base run's keys and values, by slot and without a copy. In the last block only the metric's row
 * goes on. Cells are sequences of one batch, sorted by the layer where they start. The metric is computed on the GPU, and one
 * small readback serves the whole sweep.
 */
import { abortable } from "../abort.ts";
import { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import type { KvCache } from "../model/kv-cache.ts";
import { RowTable } from "../ops/rows.ts";
import * as s from "../schema/schema.ts";
import { mergeEdits } from "./merge-edits.ts";
import { type Metric, metricWidth, recordMetric } from "./metrics.ts";
import { type CheckedSweepOptions, SWEEP_OPTIONS, type SweepModel, type SweepOptions } from "./sweep-options.ts";
import { type Cell, checkpoint, planSweep, type SweepPlan } from "./sweep-plan.ts";

/** The numbers of a sweep, on the host. */
export interface SweepResult {
  /** [cells, columns], row-major; one column a metric (`logits` has one a token). */
  values: Float32Array;
  /** Numbers of each cell. */
  columns: number;
  /** The metrics of the unedited run, [columns]. */
  base: Float32Array;
  /** How much was computed: passes, and rows summed over the layers, beside what one full pass a cell would take. */
  work: { passes: number; rowLayers: number; fullRowLayers: number };
}

/**
 * Runs a sweep.
 * @throws HookError for an edit that cannot be made (naming its cell) or a metric that does not fit; InputError for more
 * than one sequence or a position outside it; the signal's reason when aborted.
 */
export async function sweep(model: SweepModel, given: SweepOptions): Promise<SweepResult> {
  model.assertOpen();
  const options = s.readOptions(SWEEP_OPTIONS, given, "sweep");
  using plan = await planSweep(model, options);
  return await new SweepRun(model, options, plan).finish();
}

class SweepRun {
  #passes = 0;
  #rowLayers = 0;

  constructor(
    private readonly model: SweepModel,
    private readonly options: CheckedSweepOptions,
    private readonly plan: SweepPlan,
  ) {}

  async finish(): Promise<SweepResult> {
    const { options } = this;
    const { cells, outputs } = this.plan;
    const total = options.cells.length;
    const { signal } = options;
    const measureBase = (recorder: Recorder) =>
      this.#measure(recorder, this.plan.metrics, this.plan.base.logits.tensor, [total]);
    await Recorder.run(this.model.gpu, "sweep base metric", measureBase, { signal });
    let done = total - cells.length;
    for (const batch of this.#batches()) {
      signal?.throwIfAborted();
      await this.#runBatch(batch);
      done += batch.length;
      await abortable(Promise.resolve(options.onProgress?.({ done, total })), signal);
    }
    const all = await abortable(outputs.read(), signal);
    const base = all.slice(total * this.plan.columns);
    const values = all.slice(0, total * this.plan.columns);
    const computed = new Set(cells.map(({ index }) => index));
    for (let cell = 0; cell < total; cell++) if (!computed.has(cell)) values.set(base, cell * this.plan.columns);
    const fullRowLayers = total * this.plan.ids.length * this.model.spec.nLayers;
    return {
      values,
      columns: this.plan.columns,
      base,
      work: { passes: this.#passes, rowLayers: this.#rowLayers, fullRowLayers },
    };
  }

  /** Cells in passes that respect the limits, those that start at the same layer together. */
  *#batches(): Generator<Cell[]> {
    const limit = this.plan.rowLimit;
    const tokens = this.plan.head?.W_U.outWidth ?? this.model.spec.vocabSize;
    const logitLimit = Math.floor(this.model.gpu.limits.maxStorageBufferBindingSize / 4 / tokens);
    const sorted = [...this.plan.cells].sort((a, b) => startOf(a) - startOf(b) || a.index - b.index);
    let batch: Cell[] = [];
    let rows = 0;
    for (const cell of sorted) {
      // Slots are taken up to the end of the sequence, beyond the rows that are computed.
      const here = this.plan.ids.length - cell.affected.first;
      if (batch.length > 0 && (rows + here > limit || batch.length === logitLimit)) {
        yield batch;
        batch = [];
        rows = 0;
      }
      batch.push(cell);
      rows += here;
    }
    if (batch.length > 0) yield batch;
  }

  async #runBatch(batch: readonly Cell[]): Promise<void> {
    const { model } = this;
    const { end } = this.plan;
    const { spec, gpu } = model;
    using kv = this.plan.kv.fork(batch.map(() => 0));
    const { rows, joinLayers } = this.#rowsOf(batch, kv);
    const activeRows = spec.layers.map((_, layer) => joinLayers.filter((join) => join <= layer).length);
    const outputRows = indices(rows.count).filter((row) => rows.position(row) === end);
    const edits = mergeEdits(batch.map((cell) => [...this.plan.standing, ...cell.edits]));
    const hooks = { edits, captures: [], callbacks: [], positions: [], allPositions: [] };
    const tokens = this.plan.head?.W_U.outWidth ?? spec.vocabSize;
    const record = (recorder: Recorder) => {
      const logits = recorder.temp(outputRows.length, tokens);
      model.engine.recordPass(recorder, {
        rows,
        cache: kv,
        hooks,
        activeRows,
        joining: { layers: joinLayers, residual: (layer) => this.plan.base.cache.tensor(checkpoint(layer)) },
        outputRows,
        logits: { tensor: logits, head: this.plan.head },
      });
      const cellOf = outputRows.map((row) => (batch[rows.sequence(row)] as Cell).index);
      this.#measure(recorder, this.plan.head?.metrics ?? this.plan.metrics, logits, cellOf);
    };
    await Recorder.run(gpu, "sweep", record, { signal: this.options.signal });
    this.#passes += 1;
    this.#rowLayers += activeRows.reduce((sum, count) => sum + count, 0);
  }

  /** The rows of a batch, those that join earlier first, and the layer where each joins. */
  #rowsOf(batch: readonly Cell[], kv: KvCache): { rows: RowTable; joinLayers: number[] } {
    const entries = batch.flatMap(({ affected }, sequence) => {
      kv.truncate(sequence, affected.first);
      const slots = kv.extend(sequence, this.plan.ids.length - affected.first);
      return affected.joins.map((join, index) => ({
        sequence,
        position: affected.first + index,
        slot: slots[index] as number,
        join,
      }));
    });
    entries.sort((a, b) => a.join - b.join);
    const rows = new RowTable(entries.length);
    for (const [row, { sequence, position, slot }] of entries.entries()) {
      rows.set(row, sequence, position, slot, this.plan.ids[position] as number);
    }
    return { rows, joinLayers: entries.map(({ join }) => join) };
  }

  /** Records metrics for logits [rows, tokens]; `cellOf` says which row of the outputs each belongs to. */
  #measure(recorder: Recorder, metrics: readonly Metric[], logits: Tensor, cellOf: readonly number[]): void {
    const outIndex = recorder.upload(Uint32Array.from(cellOf));
    let outStart = 0;
    metrics.forEach((metric, index) => {
      recordMetric(recorder, metric, {
        logits,
        rows: cellOf.length,
        vocab: logits.shape[1] as number,
        reference: this.plan.references[index] as Tensor,
        outIndex,
        outputs: this.plan.outputs,
        outStart,
        outStride: this.plan.columns,
      });
      outStart += metricWidth(metric);
    });
  }
}

const startOf = ({ affected }: Cell) => Math.min(...affected.joins);

function indices(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index);
}
