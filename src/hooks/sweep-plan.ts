/**
 * The plan of a sweep: its cells, checked, with the rows that they affect, and the base run that stores keys, values and
 * residuals for them.
 */
import { HookError, InputError } from "../errors.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { type AffectedRows, affectedRows } from "../graph/reach.ts";
import { isCausal } from "../model/causality.ts";
import type { Head } from "../model/engine.ts";
import { type TokenInput, toIds } from "../model/input.ts";
import type { KvCache } from "../model/kv-cache.ts";
import { widestMlp } from "../model/weights/table.ts";
import { type CompiledEdit, compileEdits, type EditScope } from "./edit.ts";
import { type CheckedMetric, checkMetrics, type Metric, metricWidth, readsOnlyTokens } from "./metrics.ts";
import { rowWidth } from "./plan.ts";
import { reachesOf } from "./points.ts";
import type { ForwardResult } from "./result.ts";
import type { CheckedSweepOptions, SweepModel } from "./sweep-options.ts";

/** A cell whose edits can change what is measured. */
export interface Cell {
  index: number;
  edits: CompiledEdit[];
  affected: AffectedRows;
}

export interface SweepPlan extends Disposable {
  ids: readonly number[];
  /** The metric's position. */
  end: number;
  cells: readonly Cell[];
  /** Edits of the model's `withEdits` scope, which every pass makes. */
  standing: readonly CompiledEdit[];
  /** Rows of one pass. */
  rowLimit: number;
  metrics: readonly CheckedMetric[];
  columns: number;
  kv: KvCache;
  /** The unedited run: residuals at the checkpoints, logits at `end`. */
  base: ForwardResult;
  /** [cells + 1, columns]; the last row is the base run's. */
  outputs: Tensor;
  /** Logits that each metric compares with. */
  references: readonly Tensor[];
  /** The only tokens whose logits anybody reads, and their unembedding; undefined when every logit counts. */
  head: TokenHead | undefined;
}

const DEFAULT_BUDGET = 256 << 20;
/** Tokens that are unembedded apart: at most 32 MB of rows in a model of width 8192. */
const MAX_HEAD_TOKENS = 1024;

/**
 * Where the base run's residual before a block is taken: after the block before, so that edits of a `withEdits` scope at
 * `hook_resid_pre` are made once, by the cell's own pass.
 */
export const checkpoint = (layer: number) => `blocks.${layer - 1}.hook_resid_post`;

/** Checks everything, then runs the base. Nothing stays allocated when it fails. */
export async function planSweep(model: SweepModel, options: CheckedSweepOptions): Promise<SweepPlan> {
  const { spec, gpu } = model;
  const metrics = options.metric;
  const columns = metrics.reduce((sum, metric) => sum + metricWidth(metric), 0);
  const all = singleSequence(model, options.input);
  const end = metricPosition(all, options.position ?? -1);
  checkMetrics(metrics, spec.vocabSize);
  const scope = { spec, lengths: [all.length], starts: [0] };
  const standing = compileEdits(model.standing, scope);
  const cells = compileCells(scope, options.cells, end, all.length);
  const edits = [...standing, ...cells.flatMap((cell) => cell.edits)];
  const ids = needsWholeSequence(model, edits) ? all : all.slice(0, end + 1);
  const widest = Math.max(0, ...edits.map(({ point }) => rowWidth(point, scope)));
  const rowLimit = rowsOfPass(model, options, ids.length, widest);
  const owned: { destroy(): void }[] = [];
  const own = <T extends { destroy(): void }>(resource: T): T => {
    owned.push(resource);
    return resource;
  };
  const destroy = () => {
    for (const resource of owned.reverse()) resource.destroy();
  };
  try {
    const cellRows = cells.reduce((sum, { affected }) => sum + ids.length - affected.first, 0);
    const kv = own(model.createKvCache({ capacity: ids.length + Math.min(rowLimit, cellRows) }));
    const base = own(await runBase(model, options, ids, end, cells, kv));
    const outputs = own(gpu.tensor([options.cells.length + 1, columns], "sweep results"));
    const references = metrics.map(({ reference }) =>
      reference ? own(gpu.tensorFrom(reference, [spec.vocabSize], "reference logits")) : base.logits.tensor,
    );
    const head = tokenHead(model, metrics, edits);
    if (head) own(head);
    return {
      ids,
      end,
      cells,
      standing,
      rowLimit,
      metrics,
      columns,
      kv,
      base,
      outputs,
      references,
      head,
      [Symbol.dispose]: destroy,
    };
  } catch (error) {
    destroy();
    throw error;
  }
}

/** One pass over the whole sequence that keeps the residual wherever a cell's rows join. */
function runBase(
  model: SweepModel,
  { signal }: CheckedSweepOptions,
  ids: readonly number[],
  end: number,
  cells: readonly Cell[],
  kv: KvCache,
): Promise<ForwardResult> {
  const joins = [...new Set(cells.flatMap(({ affected }) => affected.joins))].filter((layer) => layer > 0);
  return model.forward([ids], {
    kv,
    logits: [end],
    signal,
    ...(joins.length > 0 && { capture: joins.map(checkpoint) }),
  });
}

export interface TokenHead extends Head {
  /** The metrics, with tokens numbered as this head's columns. */
  metrics: readonly Metric[];
  destroy(): void;
}

/**
 * What a metric needs of the unembedding: metrics that read a few logits need a few of its rows. On the GPT-2 shape the
 * whole unembedding costs a row as much as five and a half blocks do.
 */
function tokenHead(
  model: SweepModel,
  metrics: readonly CheckedMetric[],
  edits: readonly CompiledEdit[],
): TokenHead | undefined {
  if (!metrics.every(readsOnlyTokens) || edits.some(({ point }) => point.name === "logits")) return undefined;
  const tokens = [...new Set(metrics.flatMap((metric) => metric.tokens))];
  // Many tokens gain nothing, and their rows may exceed one binding, which the whole unembedding is split for.
  const bytes = 4 * tokens.length * model.spec.dModel;
  if (tokens.length > MAX_HEAD_TOKENS || bytes > model.gpu.limits.maxStorageBufferBindingSize) return undefined;
  const numbered = metrics.map((metric) => ({
    ...metric,
    tokens: metric.tokens.map((token) => tokens.indexOf(token)),
  }));
  return { ...model.engine.headOf(tokens), metrics: numbered };
}

function rowsOfPass(
  { spec, engine }: SweepModel,
  options: CheckedSweepOptions,
  keyCount: number,
  widest: number,
): number {
  const budget = options.memoryBudget ?? DEFAULT_BUDGET;
  const keysAndValues = 2 * spec.nLayers * spec.nKvHeads * spec.dHead;
  const activations = 4 * spec.dModel + 2 * (spec.nHeads + spec.nKvHeads) * spec.dHead + 3 * widestMlp(spec);
  const rows = Math.floor(budget / 4 / (keysAndValues + activations));
  return Math.max(keyCount, Math.min(engine.rowsPerPass(widest), rows));
}

function singleSequence(model: SweepModel, input: TokenInput): number[] {
  const ids = toIds(input, model);
  if (ids.length !== 1)
    throw new InputError("input/sweep", `A sweep takes one sequence, not ${ids.length}. Run one sweep for each.`);
  return ids[0] as number[];
}

function metricPosition(ids: readonly number[], position: number): number {
  const end = position < 0 ? ids.length + position : position;
  if (Number.isInteger(end) && end >= 0 && end < ids.length) return end;
  throw new InputError(
    "input/position-range",
    `The metric's position is ${position}; the sequence has ${ids.length} tokens.`,
  );
}

/**
 * Whether tokens after the metric's position matter to what is before it: attention may look at them, scores and patterns
 * have an axis of keys, edits of a `withEdits` scope count positions from the end, and dynamic RoPE depends on the length.
 */
function needsWholeSequence({ spec, standing }: SweepModel, edits: readonly CompiledEdit[]): boolean {
  if (!isCausal(spec) || standing.length > 0 || spec.ropes.some(({ scaling }) => scaling.kind === "dynamic"))
    return true;
  return edits.some(({ point }) => point.kind.axes.includes("key"));
}

/** Cells whose edits can change the logits at `end`. */
function compileCells(scope: EditScope, cells: CheckedSweepOptions["cells"], end: number, length: number): Cell[] {
  const reaches = reachesOf(scope.spec);
  const causal = isCausal(scope.spec);
  return cells.flatMap((edits, index) => {
    const compiled = inCell(index, () => compileEdits(edits, scope));
    const places = compiled.map(({ at, targets }) => ({
      point: at,
      positions: targets.map(({ position }) => position),
    }));
    const affected = affectedRows(reaches, places, end, length, causal);
    return affected ? [{ index, edits: compiled, affected }] : [];
  });
}

function inCell<T>(index: number, body: () => T): T {
  try {
    return body();
  } catch (error) {
    if (error instanceof HookError)
      throw new HookError(error.code, `Cell ${index}: ${error.message}`, { cause: error });
    throw error;
  }
}
