/**
 * The plan of a sweep: its cells, checked, with the rows that they affect, and the base run that stores keys, values and
 * residuals for them.
 */

import { HookError, InputError } from "../errors.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { type AffectedRows, affectedRows } from "../graph/reach.ts";
import { isCausal } from "../model/causality.ts";
import type { Head } from "../model/engine.ts";
import { toIds } from "../model/input.ts";
import type { KvCache } from "../model/kv-cache.ts";
import { dependsOnLength } from "../model/rope.ts";
import type { ModelSpec } from "../model/spec.ts";
import { cacheWidth, widestMlp, widestProjection } from "../model/weights/table.ts";
import { type CompiledEdit, compileEdits, type EditScope } from "./edit.ts";
import { type CheckedMetric, checkMetrics, metricWidth, numbersOf, readsLogits, readsOnlyTokens } from "./metrics.ts";
import { rowWidth } from "./plan.ts";
import { blockOf, reachesOf } from "./points.ts";
import { type Projection, projectionOf } from "./projection.ts";
import type { ForwardResult } from "./result.ts";
import type { CheckedSweepOptions, SweepModel } from "./sweep-options.ts";

/** A cell of one prompt, whose edits can change what is measured. */
export interface Cell {
  /** Of the outputs: [cells, prompts]. */
  index: number;
  prompt: number;
  edits: CompiledEdit[];
  affected: AffectedRows;
}

/** One of the prompts that the cells edit. */
export interface SweptPrompt {
  /** As far as they matter. */
  ids: readonly number[];
  /** The metric's position. */
  end: number;
  metrics: readonly CheckedMetric[];
  /** The metrics with tokens numbered as the columns of `SweepPlan.head`, where there is one. */
  ofHead: readonly CheckedMetric[];
  /** Logits that each metric compares with, or its own numbers; undefined: the logits of the base run. */
  references: readonly (Tensor | undefined)[];
  /** Edits of the model's `withEdits` scope, which every pass makes. */
  standing: readonly CompiledEdit[];
}

/** What of a pass the metrics read. */
export interface Measured {
  /** The points that metrics project, each once. */
  readonly projections: readonly Projection[];
  readonly logits: boolean;
  /** Without logits: the block before which a cell's pass may end. */
  readonly stopAtLayer: number | undefined;
}

export interface SweepPlan extends Disposable {
  measured: Measured;
  prompts: readonly SweptPrompt[];
  /** Tokens of the longest. */
  longest: number;
  cells: readonly Cell[];
  /** Rows of one pass. */
  rowLimit: number;
  columns: number;
  /** A sequence for each prompt. */
  kv: KvCache;
  /** The unedited run: residuals at the checkpoints, logits at each prompt's `end`. */
  base: ForwardResult;
  /** [cells + 1, prompts, columns]; the last rows are the base run's. */
  outputs: Tensor;
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
  const all = toIds(options.input, model);
  const metrics = metricsOf(options.metric, all.length, spec);
  const measured = measuredOf(spec, metrics.flat());
  const columns = columnsOf(metrics);
  const { position = -1 } = options;
  const ends = all.map((ids, prompt) => metricPosition(ids, position, prompt, all.length));
  const scope = { spec, lengths: all.map(({ length }) => length), starts: all.map(() => 0) };
  const standing = compileEdits(model.standing, scope);
  const cells = compileCells(scope, options.cells, ends, measured);
  const edits = [...standing, ...cells.flatMap((cell) => cell.edits)];
  const isWhole = needsWholeSequence(model, edits);
  const lists = all.map((ids, prompt) => (isWhole ? ids : ids.slice(0, (ends[prompt] as number) + 1)));
  const longest = Math.max(...lists.map(({ length }) => length));
  const looked = [...edits, ...measured.projections].map(({ point }) => rowWidth(point, scope));
  const widest = Math.max(0, ...looked);
  const rowLimit = rowsOfPass(model, options, longest, widest);
  const owned: { destroy(): void }[] = [];
  const own = <T extends { destroy(): void }>(resource: T): T => {
    owned.push(resource);
    return resource;
  };
  const destroy = () => {
    for (const resource of owned.reverse()) resource.destroy();
  };
  try {
    const cellRows = cells.reduce((sum, { affected, prompt }) => sum + lengthOf(lists, prompt) - affected.first, 0);
    const baseRows = lists.reduce((sum, { length }) => sum + length, 0);
    const capacity = baseRows + Math.min(rowLimit, cellRows);
    const kv = own(model.createKvCache({ sequences: lists.length, capacity }));
    const base = own(await runBase(model, options, lists, isWhole ? position : -1, cells, measured, kv));
    const outputs = own(gpu.tensor([(options.cells.length + 1) * lists.length, columns], "sweep results"));
    const head = measured.logits ? tokenHead(model, metrics.flat(), edits) : undefined;
    if (head) own(head);
    const referenceOf = (metric: CheckedMetric) => {
      const numbers = numbersOf(metric, spec);
      return numbers && own(gpu.tensorFrom(numbers, [numbers.length], "reference of a metric"));
    };
    const shared = metrics[0]?.map(referenceOf) ?? [];
    const prompts = lists.map((ids, prompt): SweptPrompt => {
      const ofPrompt = metrics[prompt] as readonly CheckedMetric[];
      return {
        ...{ ids, end: ends[prompt] as number, metrics: ofPrompt },
        ofHead: head ? ofPrompt.map(head.numbered) : ofPrompt,
        references: ofPrompt === metrics[0] ? shared : ofPrompt.map(referenceOf),
        standing: ofSequence(standing, prompt),
      };
    });
    const shape = { prompts, longest, cells, rowLimit, columns, measured };
    return { ...shape, kv, base, outputs, head, [Symbol.dispose]: destroy };
  } catch (error) {
    destroy();
    throw error;
  }
}

const lengthOf = (lists: readonly (readonly number[])[], prompt: number) => (lists[prompt] as readonly number[]).length;

/**
 * The metrics of each prompt.
 * @throws HookError `hook/metric` for lists that are not one for each prompt, or differ in columns
 */
function metricsOf(
  given: CheckedSweepOptions["metric"],
  prompts: number,
  spec: ModelSpec,
): readonly (readonly CheckedMetric[])[] {
  const isLists = Array.isArray(given[0]);
  const lists = (
    isLists ? given : Array.from({ length: prompts }, () => given)
  ) as readonly (readonly CheckedMetric[])[];
  for (const list of new Set(lists)) checkMetrics(list, spec);
  if (lists.length !== prompts)
    throw new HookError(
      "hook/metric",
      `There are ${lists.length} lists of metrics for ${prompts} prompts. Give a list for each prompt, or one for all.`,
    );
  const columns = lists.map((list) => columnsOf([list]));
  const other = columns.findIndex((count) => count !== columns[0]);
  if (other < 0) return lists;
  throw new HookError(
    "hook/metric",
    `The metrics of prompt 0 have ${columns[0]} columns, those of prompt ${other} ${columns[other]}. Give each prompt as many.`,
  );
}

function measuredOf(spec: ModelSpec, metrics: readonly CheckedMetric[]): Measured {
  const projections = new Map<string, Projection>();
  for (const metric of metrics) {
    if (!readsLogits(metric)) projections.set(metric.at as string, projectionOf(spec, metric));
  }
  const logits = metrics.some(readsLogits);
  const layers = [...projections.values()].map(({ point }) => point.layer);
  const isInBlocks = layers.every((layer) => layer !== undefined);
  const stopAtLayer = logits || !isInBlocks ? undefined : 1 + Math.max(...(layers as number[]));
  return { projections: [...projections.values()], logits, stopAtLayer };
}

const columnsOf = ([first]: readonly (readonly CheckedMetric[])[]) =>
  (first ?? []).reduce((sum, metric) => sum + metricWidth(metric), 0);

/** Edits as far as they are of one sequence. */
function ofSequence(edits: readonly CompiledEdit[], sequence: number): CompiledEdit[] {
  return edits.flatMap((edit) => {
    const targets = edit.targets.filter((target) => target.sequence === sequence);
    return targets.length > 0 ? [{ ...edit, targets }] : [];
  });
}

/** One pass over the prompts that keeps the residual wherever a cell's rows join. */
function runBase(
  model: SweepModel,
  { signal }: CheckedSweepOptions,
  lists: readonly (readonly number[])[],
  position: number,
  cells: readonly Cell[],
  { projections }: Measured,
  kv: KvCache,
): Promise<ForwardResult> {
  const joins = [...new Set(cells.flatMap(({ affected }) => affected.joins))].filter((layer) => layer > 0);
  const capture = [...joins.map(checkpoint), ...projections.map(({ point }) => point.name)];
  return model.forward(lists, { kv, logits: [position], signal, ...(capture.length > 0 && { capture }) });
}

export interface TokenHead extends Head {
  /** A metric with tokens numbered as this head's columns. */
  numbered(metric: CheckedMetric): CheckedMetric;
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
  const numbered = (metric: CheckedMetric) => ({
    ...metric,
    tokens: metric.tokens.map((token) => tokens.indexOf(token)),
  });
  return { ...model.engine.headOf(tokens), numbered };
}

function rowsOfPass(
  { spec, engine }: SweepModel,
  options: CheckedSweepOptions,
  keyCount: number,
  widest: number,
): number {
  const budget = options.memoryBudget ?? DEFAULT_BUDGET;
  const activations = 4 * spec.dModel + 2 * widestProjection(spec) + 3 * widestMlp(spec);
  const rows = Math.floor(budget / 4 / (cacheWidth(spec) + activations));
  return Math.max(keyCount, Math.min(engine.rowsPerPass(widest), rows));
}

function metricPosition(ids: readonly number[], position: number, prompt: number, prompts: number): number {
  const end = position < 0 ? ids.length + position : position;
  if (Number.isInteger(end) && end >= 0 && end < ids.length) return end;
  const whose = prompts > 1 ? `prompt ${prompt}` : "the sequence";
  throw new InputError(
    "input/position-range",
    `The metric's position is ${position}; ${whose} has ${ids.length} tokens.`,
  );
}

/**
 * Whether tokens after the metric's position matter to what is before it: attention may look at them, scores and patterns
 * have an axis of keys, edits of a `withEdits` scope count positions from the end, and dynamic RoPE depends on the length.
 */
function needsWholeSequence({ spec, standing }: SweepModel, edits: readonly CompiledEdit[]): boolean {
  if (!isCausal(spec) || standing.length > 0 || spec.ropes.some(dependsOnLength)) return true;
  return edits.some(({ point }) => point.kind.axes.includes("key"));
}

/** Cells of the prompts at whose ends the edits can change what is measured. */
function compileCells(
  scope: EditScope,
  cells: CheckedSweepOptions["cells"],
  ends: readonly number[],
  { projections, logits }: Measured,
): Cell[] {
  const { spec } = scope;
  const names = projections.map(({ point }) => point.name);
  const reaches = reachesOf(spec, [...(logits ? ["logits"] : []), ...names]);
  const from = Math.min(...names.map((name) => blockOf(spec, name)));
  const causal = isCausal(spec);
  return cells.flatMap((edits, cell) => {
    const compiled = inCell(cell, () => compileEdits(edits, scope));
    return ends.flatMap((end, prompt) => {
      const own = ends.length > 1 ? ofSequence(compiled, prompt) : compiled;
      const places = own.map(({ at, targets }) => ({ point: at, positions: targets.map(({ position }) => position) }));
      const affected = affectedRows(reaches, places, end, scope.lengths[prompt] as number, causal, from);
      return affected
        ? [{ index: cell * ends.length + prompt, prompt, edits: own, affected: withSources(affected, spec) }]
        : [];
    });
  });
}

/**
 * Rows join no later than the block that makes what a block after the join reads besides the residual: a dictionary's features, keys
 * and values, embeddings for each block. A row has these in its own slots, or nowhere.
 */
function withSources({ first, joins }: AffectedRows, spec: ModelSpec): AffectedRows {
  const ofModules = (spec.modules ?? []).map(({ hookIn, hookOut, writes }) => {
    const to = [hookOut, ...writes.map(({ hook }) => hook)].map((hook) => blockOf(spec, hook));
    return { from: blockOf(spec, hookIn), to: Math.max(...to) };
  });
  const ofKeys = spec.layers.flatMap(({ keysFrom }, to) => (keysFrom === undefined ? [] : [{ from: keysFrom, to }]));
  const ofEmbeddings = spec.embed.perLayer ? [{ from: 0, to: spec.nLayers - 1 }] : [];
  const spans = [...ofModules, ...ofKeys, ...ofEmbeddings];
  const earliest = (join: number): number => {
    const over = spans.filter(({ from, to }) => from < join && join <= to).map(({ from }) => from);
    return over.length > 0 ? earliest(Math.min(...over)) : join;
  };
  const moved = joins.map(earliest);
  for (let row = moved.length - 2; row >= 0; row--) {
    moved[row] = Math.min(moved[row] as number, moved[row + 1] as number);
  }
  return { first, joins: moved };
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
