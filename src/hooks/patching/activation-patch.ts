/**
 * Activation patching: run one prompt with an activation of another, and see how far the answer follows.
 *
 * Denoising puts clean activations into the corrupted run, and shows what suffices to restore the answer. Noising puts
 * corrupted ones into the clean run, and shows what the answer needs (Heimersheim and Nanda 2024, arXiv 2404.15255).
 */
import { HookError } from "../../errors.ts";
import type { TextModel, TokenInput } from "../../model/input.ts";
import * as s from "../../schema/schema.ts";
import { readCall } from "../call.ts";
import type { Edit } from "../edit.ts";
import type { HookedModel } from "../hooked-model.ts";
import { meanOverPrompts } from "../mean-over-prompts.ts";
import { METRICS, type Metric } from "../metrics.ts";
import type { ForwardResult } from "../result.ts";
import {
  againstClean,
  assertOneColumn,
  EXPERIMENT_FIELDS,
  type ExperimentOptions,
  metricsOfPrompts,
  PROMPT,
  promptPair,
  promptPairs,
  sweepOptions,
} from "./experiment.ts";
import { type GridAxis, PatchGrid } from "./grid.ts";
import {
  headAxis,
  layerAxis,
  layerHeadAxis,
  metricEnd,
  outcomeCell,
  outcomePoints,
  pickHeads,
  pickPositions,
  positionAxis,
  type ResolvedSite,
  resolveSite,
  SITE,
  type Site,
} from "./sites.ts";

/** Options of `activationPatch`. */
export interface ActivationPatchOptions extends Omit<ExperimentOptions, "metric"> {
  /** A prompt whose answer is the one that counts, or several. */
  clean: TokenInput;
  /** As many tokens as `clean`; as many prompts, in the same order. */
  corrupted: TokenInput;
  /** One number a cell: one metric for all pairs of prompts, or one for each. */
  metric: Metric | readonly Metric[];
  /** The activation to patch. Sites with heads (q, k, v, z, pattern) give [layers, heads], the others [layers, positions]. */
  at: Site;
  /** Default "denoising": clean into corrupted. */
  direction?: "denoising" | "noising";
  /** The columns; for sites with heads the positions (queries, for pattern) patched together. Default all. */
  positions?: s.Indices;
  /** Which layers; all when absent. */
  layers?: s.Indices;
  /** Only for sites with heads. Default all. */
  heads?: s.Indices;
  /** Of sites with heads: each head at each position is a cell, [layers x heads, positions]. */
  byPosition?: boolean;
}

/** Which prompts, and what is patched between them. */
export const PATCH_FIELDS = {
  clean: PROMPT,
  corrupted: PROMPT,
  at: s.required(SITE),
  direction: s.oneOf("denoising", "noising"),
  positions: s.indices,
  layers: s.indices,
  heads: s.indices,
  byPosition: s.flag,
} as const satisfies s.Fields<Omit<ActivationPatchOptions, keyof ExperimentOptions>>;

type CheckedPatchOptions = Omit<s.Read<ActivationPatchOptions>, "metric"> & { metric: readonly Metric[] };

export const ACTIVATION_PATCH_OPTIONS = s.object<ActivationPatchOptions, CheckedPatchOptions>(
  "the options of activationPatch",
  { ...EXPERIMENT_FIELDS, metric: s.required(METRICS), ...PATCH_FIELDS },
);

/**
 * One forward pass of the prompts that give, one sweep over the prompts that are patched. With several pairs the grid is the mean, and
 * has the grid of each as `prompts`; they may differ in length at sites with heads.
 * @throws HookError `hook/patch-length` when the prompts of a pair differ in tokens, or pairs do where columns are positions; as `sweep`
 * otherwise.
 */
export async function activationPatch(model: HookedModel, given: ActivationPatchOptions): Promise<PatchGrid> {
  const { metric, ...options } = readCall("activationPatch", model, ACTIVATION_PATCH_OPTIONS, given);
  const pairs = promptPairs(model, options);
  const metrics = metricsOfPrompts(metric, pairs.length);
  const plans = pairs.map((pair) => planPair(model, pair, options));
  checkColumns(plans);
  const results = await sweepPatches(model, plans, metrics, options);
  const grids = results.map(({ values, ofTarget, ofSource }, index) =>
    patchGrid(plans[index] as PatchPlan, values, ofTarget, ofSource),
  );
  const [only] = grids as [PatchGrid];
  return grids.length === 1 ? only : meanGrid(grids);
}

/** Columns that are positions mean the same in all pairs of prompts. @throws HookError `hook/patch-length` */
function checkColumns(plans: readonly PatchPlan[]): void {
  const [first] = plans as [PatchPlan];
  const other = plans.find(({ target }) => target.length !== first.target.length);
  if (!other || first.columns.name !== "position") return;
  throw new HookError(
    "hook/patch-length",
    `The pairs have ${first.target.length} and ${other.target.length} tokens, and the grid's columns are positions. Give pairs of one length, or patch heads (at "z") without byPosition.`,
  );
}

function meanGrid(grids: readonly PatchGrid[]): PatchGrid {
  const [{ rows, columns }] = grids as [PatchGrid];
  const labels = columns.indices.map((index, column) => {
    const each = new Set(grids.map((grid) => grid.columns.labels[column]));
    return each.size === 1 ? (columns.labels[column] as string) : String(index);
  });
  const mean = (of: (grid: PatchGrid) => number) => meanOverPrompts(grids.map((grid) => [of(grid)]))[0] as number;
  const values = meanOverPrompts(grids.map(({ values }) => values));
  const ends = [mean(({ base }) => base), mean(({ clean }) => clean), mean(({ corrupted }) => corrupted)] as const;
  return new PatchGrid(rows, { ...columns, labels }, values, ...ends, grids);
}

/** The two runs, and the cells of the grid: layers times heads, or times positions for sites without heads. */
export interface PatchPlan {
  denoising: boolean;
  /** Ids of the prompt that is patched, and of the one that gives. */
  target: readonly number[];
  source: readonly number[];
  site: ResolvedSite;
  /** Empty for sites without heads. */
  heads: readonly number[];
  positions: readonly number[];
  /** The metric's position. */
  end: number;
  rows: GridAxis;
  columns: GridAxis;
}

type PlannedOptions = Pick<
  CheckedPatchOptions,
  "at" | "direction" | "positions" | "layers" | "heads" | "byPosition" | "metricPosition"
>;

/** Checks options against a model, whose weights it does not need. @throws HookError, InputError */
export function planPatch(
  model: TextModel & Pick<HookedModel, "spec">,
  options: PlannedOptions & Pick<CheckedPatchOptions, "clean" | "corrupted"> & { metric: Metric },
): PatchPlan {
  assertOneColumn(options.metric);
  return planPair(model, promptPair(model, options), options);
}

/** The same for prompts as ids. */
function planPair(
  model: TextModel & Pick<HookedModel, "spec">,
  { clean, corrupted }: ReturnType<typeof promptPair>,
  options: PlannedOptions,
): PatchPlan {
  const denoising = (options.direction ?? "denoising") === "denoising";
  const [target, source] = denoising ? [corrupted, clean] : [clean, corrupted];
  const site = resolveSite(model.spec, options.at, options.layers);
  const heads = pickHeads(site, options.heads);
  const positions = pickPositions(options.positions, target.length);
  const end = metricEnd(options.metricPosition, target.length);
  const { byPosition = false } = options;
  if (byPosition && heads.length === 0)
    throw new HookError(
      "hook/head-range",
      `${site.names[0]} has no heads, and its cells are positions already. Leave byPosition out.`,
    );
  const rows = byPosition ? layerHeadAxis(site.layers, heads) : layerAxis(site.layers);
  const columns = heads.length > 0 && !byPosition ? headAxis(heads) : positionAxis(model, target, positions);
  return { denoising, target, source, site, heads, positions, end, rows, columns };
}

/** The grid of values [rows, columns], given the metric of both runs. */
export function patchGrid(plan: PatchPlan, values: Float32Array, ofTarget: number, ofSource: number): PatchGrid {
  const [clean, corrupted] = plan.denoising ? [ofSource, ofTarget] : [ofTarget, ofSource];
  return new PatchGrid(plan.rows, plan.columns, values, ofTarget, clean, corrupted);
}

/** What a pair of prompts gives: the metric of the cells, and of both runs. */
export interface PatchResult {
  values: Float32Array;
  ofTarget: number;
  ofSource: number;
}

/** The metric of the cells `chosen`, by their places in the grid, of all when absent: for each pair of prompts, in one sweep. */
export async function sweepPatches(
  model: HookedModel,
  plans: readonly PatchPlan[],
  metrics: readonly Metric[],
  options: Omit<CheckedPatchOptions, "metric">,
  chosen?: readonly number[],
): Promise<PatchResult[]> {
  const [plan] = plans as [PatchPlan];
  const { metricPosition: end = -1, positions, signal } = options;
  const outcome = outcomePoints(model.spec, metrics);
  using run = await model.forward(
    plans.map(({ source }) => source),
    {
      capture: [...plan.site.names, ...outcome],
      ...(positions && { positions: [...positions, end] }),
      logits: [end],
      signal,
    },
  );
  const all = patchCells(plan, run, positions);
  const cells = chosen ? chosen.map((cell) => all[cell] as Edit[]) : all;
  cells.push(outcomeCell(outcome, run.cache, end));
  const measured = metrics.map(async (own, pair) => [plan.denoising ? await againstClean(own, run.logits, pair) : own]);
  const { prompts } = await model.sweep({
    ...sweepOptions(options),
    input: plans.map(({ target }) => target),
    cells,
    metric: await Promise.all(measured),
  });
  return prompts.map(({ values, base }) => ({
    values: values.slice(0, -1),
    ofTarget: base[0] as number,
    ofSource: values.at(-1) as number,
  }));
}

/** `chosen`: positions that heads are patched at, as they were given; all when absent. */
function patchCells(
  { site, heads, positions, columns }: PatchPlan,
  { cache }: ForwardResult,
  chosen: readonly number[] | undefined,
): Edit[][] {
  return site.names.flatMap((at): Edit[][] => {
    const patch = { at, op: "set" as const, value: cache.at(at) };
    const atEach = (where: Pick<Edit, "heads">) =>
      positions.map((position) => [{ ...patch, ...where, positions: [position] }]);
    if (heads.length > 0 && columns.name === "position") return heads.flatMap((head) => atEach({ heads: [head] }));
    if (heads.length > 0)
      return heads.map((head) => [{ ...patch, ...(chosen && { positions: chosen }), heads: [head] }]);
    return atEach({});
  });
}
