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
import { meanOverPrompts } from "./mean-over-prompts.ts";
import { mergeEdits } from "./merge-edits.ts";
import { metricWidth, readsLogits, recordMetric } from "./metrics.ts";
import { type CheckedSweepOptions, SWEEP_OPTIONS, type SweepModel, type SweepOptions } from "./sweep-options.ts";
import { type Cell, checkpoint, planSweep, type SweepPlan, type SweptPrompt } from "./sweep-plan.ts";

/** The numbers of a sweep, on the host. */
export interface SweepResult {
  /** [cells, columns], row-major; one column a metric (`logits` has one a token). With several prompts the mean over them. */
  values: Float32Array;
  /** Numbers of each cell. */
  columns: number;
  /** The metrics of the unedited run, [columns]; with several prompts the mean. */
  base: Float32Array;
  /** Every value, for each prompt as `values` and `base`. */
  prompts: { values: Float32Array; base: Float32Array }[];
  /** How much was computed: passes, and rows summed over the layers, beside what one full pass a cell would take. */
  work: { passes: number; rowLayers: number; fullRowLayers: number };
}

/**
 * Runs a sweep.
 * @throws HookError for an edit that cannot be made (naming its cell) or a metric that does not fit; InputError for a
 * position outside a prompt; the signal's reason when aborted.
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
    const { cells, outputs, prompts, columns } = this.plan;
    const count = options.cells.length;
    const total = count * prompts.length;
    const { signal } = options;
    const measureBase = (recorder: Recorder) =>
      this.#measure(
        recorder,
        { logits: this.plan.base.logits.tensor, activations: this.plan.base.cache, isBase: true },
        prompts.map(({ end }, prompt) => ({
          ...{ prompt, output: total + prompt },
          row: prompt,
          place: prompt * this.plan.longest + end,
        })),
      );
    await Recorder.run(this.model.gpu, "sweep base metric", measureBase, { signal });
    let done = total - cells.length;
    const batches = [...this.#batches()];
    while (batches.length > 0) {
      signal?.throwIfAborted();
      done += await this.#runRound(batches);
      await abortable(Promise.resolve(options.onProgress?.({ done, total })), signal);
    }
    const all = await abortable(outputs.read(), signal);
    const computed = new Set(cells.map(({ index }) => index));
    const numbersOf = (output: number) => all.subarray(output * columns, (output + 1) * columns);
    const each = prompts.map((_, prompt) => {
      const base = numbersOf(total + prompt).slice();
      const values = new Float32Array(count * columns);
      for (let cell = 0; cell < count; cell++) {
        const output = cell * prompts.length + prompt;
        values.set(computed.has(output) ? numbersOf(output) : base, cell * columns);
      }
      return { values, base };
    });
    const rows = prompts.reduce((sum, { ids }) => sum + ids.length, 0);
    const fullRowLayers = count * rows * this.model.spec.nLayers;
    return {
      values: meanOverPrompts(each.map(({ values }) => values)),
      columns,
      base: meanOverPrompts(each.map(({ base }) => base)),
      prompts: each,
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
      const here = this.#idsOf(cell).length - cell.affected.first;
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

  #idsOf({ prompt }: Pick<Cell, "prompt">): readonly number[] {
    return (this.plan.prompts[prompt] as SweptPrompt).ids;
  }

  /**
   * Takes batches and runs them: one, or where weights are streamed as many as `ROUND_BYTES` hold, block by block, so that each block
   * is read once for all of them. Returns how many cells they had.
   */
  async #runRound(batches: Cell[][]): Promise<number> {
    const { gpu, engine } = this.model;
    const { signal } = this.options;
    const recorders: Recorder[] = [];
    const caches: KvCache[] = [];
    let cells = 0;
    try {
      do {
        const batch = batches.shift() as Cell[];
        const kv = this.plan.kv.fork(batch.map(({ prompt }) => prompt));
        caches.push(kv);
        const recorder = new Recorder(gpu, "sweep");
        recorders.push(recorder);
        this.#recordBatch(recorder, batch, kv);
        cells += batch.length;
      } while (engine.isStreamed && batches[0] && this.#hasRoom(recorders, batches[0]));
      await Recorder.submitTogether(recorders, signal);
      return cells;
    } finally {
      for (const recorder of recorders) recorder.discard();
      for (const kv of caches) kv.destroy();
    }
  }

  /** Whether another batch fits beside those that are recorded, with its keys and values. */
  #hasRoom(recorders: readonly Recorder[], next: readonly Cell[]): boolean {
    const { store } = this.plan.kv;
    const temporaries = recorders.reduce((sum, { temporaryBytes }) => sum + temporaryBytes, 0);
    const ofBatch = temporaries / recorders.length;
    const slots = next.reduce((sum, cell) => sum + this.#idsOf(cell).length - cell.affected.first, 0);
    const keys = (store.used + slots) * store.tokenBytes;
    return slots <= store.room && temporaries + ofBatch + keys <= ROUND_BYTES;
  }

  #recordBatch(recorder: Recorder, batch: readonly Cell[], kv: KvCache): void {
    const { model } = this;
    const { prompts, longest } = this.plan;
    const { spec } = model;
    const { rows, joinLayers, sources } = this.#rowsOf(batch, kv);
    const activeRows = spec.layers.map((_, layer) => joinLayers.filter((join) => join <= layer).length);
    const cellOf = (row: number) => batch[rows.sequence(row)] as Cell;
    const promptOf = (row: number) => prompts[cellOf(row).prompt] as SweptPrompt;
    const outputRows = indices(rows.count).filter((row) => rows.position(row) === promptOf(row).end);
    const edits = mergeEdits(
      batch.map(({ edits, prompt }) => [...(prompts[prompt] as SweptPrompt).standing, ...edits]),
    );
    const { measured } = this.plan;
    const positions = batch.map(({ prompt }) => [(prompts[prompt] as SweptPrompt).end]);
    const tokens = this.plan.head?.W_U.outWidth ?? spec.vocabSize;
    const logits = measured.logits ? recorder.temp(outputRows.length, tokens) : undefined;
    const captures = measured.projections.map(({ point: { name }, shape }) => ({
      name,
      tensor: recorder.temp(batch.length, 1, ...shape),
    }));
    const hooks = { edits, captures, callbacks: [], positions, allPositions: positions };
    model.engine.recordPass(recorder, {
      rows,
      cache: kv,
      hooks,
      activeRows,
      joining: {
        layers: joinLayers,
        sources,
        residual: (layer) => this.plan.base.cache.tensor(checkpoint(layer)),
      },
      outputRows,
      keyCount: longest,
      stopAtLayer: measured.stopAtLayer,
      logits: logits && { tensor: logits, head: this.plan.head },
    });
    const activations = { tensor: (name: string) => captures.find((each) => each.name === name)?.tensor as Tensor };
    this.#measure(
      recorder,
      { logits, activations, isBase: false },
      outputRows.map((row, index) => {
        const { prompt, index: output } = cellOf(row);
        return { prompt, output, row: index, place: rows.sequence(row) };
      }),
    );
    this.#passes += 1;
    this.#rowLayers += activeRows.slice(0, measured.stopAtLayer).reduce((sum, count) => sum + count, 0);
  }

  /** The rows of a batch, those that join earlier first, the layer where each joins, and its row of the base run. */
  #rowsOf(batch: readonly Cell[], kv: KvCache): { rows: RowTable; joinLayers: number[]; sources: number[] } {
    const entries = batch.flatMap((cell, sequence) => {
      const { affected, prompt } = cell;
      const ids = this.#idsOf(cell);
      kv.truncate(sequence, affected.first);
      const slots = kv.extend(sequence, ids.length - affected.first);
      return affected.joins.map((join, index) => {
        const position = affected.first + index;
        const source = prompt * this.plan.longest + position;
        return { sequence, position, slot: slots[index] as number, join, source, token: ids[position] as number };
      });
    });
    entries.sort((a, b) => a.join - b.join);
    const rows = new RowTable(entries.length);
    for (const [row, { sequence, position, slot, token }] of entries.entries())
      rows.set(row, sequence, position, slot, token);
    return { rows, joinLayers: entries.map(({ join }) => join), sources: entries.map(({ source }) => source) };
  }

  /** Records the metrics of the base run or of cells. */
  #measure(recorder: Recorder, { logits, activations, isBase }: Found, measured: readonly MeasuredRow[]): void {
    const { prompts, outputs, columns, base } = this.plan;
    // Prompts with the same metrics share the dispatches, but for those that compare with their own base run.
    const groups = new Map<unknown, MeasuredRow[]>();
    for (const each of measured) {
      const { metrics, references } = prompts[each.prompt] as SweptPrompt;
      const isOwn = metrics.some((metric, index) => metric.kind === "kl" && !references[index]);
      const key = isOwn ? each.prompt : metrics;
      groups.set(key, [...(groups.get(key) ?? []), each]);
    }
    for (const rows of groups.values()) {
      const [{ prompt }] = rows as [MeasuredRow];
      const { metrics, ofHead, references } = prompts[prompt] as SweptPrompt;
      let outStart = 0;
      (isBase ? metrics : ofHead).forEach((metric, index) => {
        const reference = references[index];
        const point = readsLogits(metric) ? undefined : (metric.at as string);
        const source = (point === undefined ? logits : activations.tensor(point)) as Tensor;
        recordMetric(recorder, metric, {
          logits: source,
          rows: rows.map(({ row, place, output }) => [point === undefined ? row : place, output]),
          vocab: point === undefined ? (source.shape[1] as number) : (reference as Tensor).length,
          ...{ outputs, outStart, outStride: columns },
          reference: reference ?? base.logits.tensor,
          referenceStart: reference ? 0 : prompt * this.model.spec.vocabSize,
        });
        outStart += metricWidth(metric);
      });
    }
  }
}

/** Temporaries, keys and values of the batches that run together where weights are streamed. */
const ROUND_BYTES = 512 << 20;

/** What metrics read: logits [rows, tokens], unless none does, and the points that are projected. */
interface Found {
  readonly logits: Tensor | undefined;
  readonly activations: { tensor(name: string): Tensor };
  readonly isBase: boolean;
}

/** A row that is measured: its place in the outputs, in the logits, and in the activations. */
interface MeasuredRow {
  readonly prompt: number;
  readonly output: number;
  readonly row: number;
  readonly place: number;
}

const startOf = ({ affected }: Cell) => Math.min(...affected.joins);

function indices(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index);
}
