/**
 * Activation patching: run one prompt with an activation of another, and see how far the answer follows.
 *
 * Denoising puts clean activations into the corrupted run, and shows what suffices to restore the answer. Noising puts
 * corrupted ones into the clean run, and shows what the answer needs (Heimersheim and Nanda 2024, arXiv 2404.15255).
 */
import type { TextModel, TokenInput } from "../../model/input.ts";
import * as s from "../../schema/schema.ts";
import { readCall } from "../call.ts";
import type { Edit } from "../edit.ts";
import type { HookedModel } from "../hooked-model.ts";
import type { ForwardResult } from "../result.ts";
import {
  againstClean,
  assertOneColumn,
  EXPERIMENT_FIELDS,
  type ExperimentOptions,
  PROMPT,
  promptPair,
  sweepOptions,
} from "./experiment.ts";
import { type GridAxis, PatchGrid } from "./grid.ts";
import {
  headAxis,
  lastResidual,
  layerAxis,
  metricEnd,
  outcomeCell,
  pickHeads,
  pickPositions,
  positionAxis,
  type ResolvedSite,
  resolveSite,
  SITE,
  type Site,
} from "./sites.ts";

/** Options of `activationPatch`. */
export interface ActivationPatchOptions extends ExperimentOptions {
  /** One sequence, whose answer is the one that counts. */
  clean: TokenInput;
  /** As many tokens as `clean`. */
  corrupted: TokenInput;
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
} as const satisfies s.Fields<Omit<ActivationPatchOptions, keyof ExperimentOptions>>;

export const ACTIVATION_PATCH_OPTIONS = s.object<ActivationPatchOptions>("the options of activationPatch", {
  ...EXPERIMENT_FIELDS,
  ...PATCH_FIELDS,
});

/**
 * One forward pass of the prompt that gives, one sweep over the prompt that is patched.
 * @throws HookError `hook/patch-length` when the prompts differ in tokens; as `sweep` otherwise.
 */
export async function activationPatch(model: HookedModel, given: ActivationPatchOptions): Promise<PatchGrid> {
  const options = readCall("activationPatch", model, ACTIVATION_PATCH_OPTIONS, given);
  const plan = planPatch(model, options);
  const { values, ofTarget, ofSource } = await sweepPatches(model, plan, options);
  return patchGrid(plan, values, ofTarget, ofSource);
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

/** Checks options against a model, whose weights it does not need. @throws HookError, InputError */
export function planPatch(
  model: TextModel & Pick<HookedModel, "spec">,
  options: s.Read<Omit<ActivationPatchOptions, "onProgress" | "memoryBudget">>,
): PatchPlan {
  assertOneColumn(options.metric);
  const { clean, corrupted } = promptPair(model, options);
  const denoising = (options.direction ?? "denoising") === "denoising";
  const [target, source] = denoising ? [corrupted, clean] : [clean, corrupted];
  const site = resolveSite(model.spec, options.at, options.layers);
  const heads = pickHeads(site, options.heads);
  const positions = pickPositions(options.positions, target.length);
  const end = metricEnd(options.metricPosition, target.length);
  const rows = layerAxis(site.layers);
  const columns = heads.length > 0 ? headAxis(heads) : positionAxis(model, target, positions);
  return { denoising, target, source, site, heads, positions, end, rows, columns };
}

/** The grid of values [rows, columns], given the metric of both runs. */
export function patchGrid(plan: PatchPlan, values: Float32Array, ofTarget: number, ofSource: number): PatchGrid {
  const [clean, corrupted] = plan.denoising ? [ofSource, ofTarget] : [ofTarget, ofSource];
  return new PatchGrid(plan.rows, plan.columns, values, ofTarget, clean, corrupted);
}

/** The metric of the cells `chosen`, by their places in the grid; of all when absent. And that of both runs. */
export async function sweepPatches(
  model: HookedModel,
  plan: PatchPlan,
  options: s.Read<ActivationPatchOptions>,
  chosen?: readonly number[],
): Promise<{ values: Float32Array; ofTarget: number; ofSource: number }> {
  const { site, positions, end, target, source, denoising } = plan;
  using run = await model.forward([source], {
    capture: [...site.names, lastResidual(model.spec)],
    positions: [...positions, end],
    logits: [end],
    signal: options.signal,
  });
  const all = patchCells(plan, run);
  const cells = chosen ? chosen.map((cell) => all[cell] as Edit[]) : all;
  cells.push(outcomeCell(model.spec, run.cache, end));
  const metric = denoising ? await againstClean(options.metric, run.logits) : options.metric;
  const { values, base } = await model.sweep({ ...sweepOptions(options), input: target, cells, metric });
  return { values: values.slice(0, -1), ofTarget: base[0] as number, ofSource: values.at(-1) as number };
}

function patchCells({ site, heads, positions }: PatchPlan, { cache }: ForwardResult): Edit[][] {
  return site.names.flatMap((at): Edit[][] => {
    const patch = { at, op: "set" as const, value: cache.at(at) };
    if (heads.length > 0) return heads.map((head) => [{ ...patch, positions, heads: [head] }]);
    return positions.map((position) => [{ ...patch, positions: [position] }]);
  });
}
