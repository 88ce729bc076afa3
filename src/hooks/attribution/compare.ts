/**
 * How wrong is attribution patching here? The exact sweep, on all cells of the grid or on a sample of them, beside the
 * approximation. Nanda 2023 and Syed et al. 2023 (arXiv 2310.10348) compare them in this way.
 */
import { RandomStream } from "../../model/random.ts";
import * as s from "../../schema/schema.ts";
import { readCall } from "../call.ts";
import type { HookedModel } from "../hooked-model.ts";
import {
  type ActivationPatchOptions,
  PATCH_FIELDS,
  type PatchResult,
  planPatch,
  sweepPatches,
} from "../patching/activation-patch.ts";
import { EXPERIMENT_FIELDS } from "../patching/experiment.ts";
import type { GridAxis, PatchGrid } from "../patching/grid.ts";
import { type AttributionPatchOptions, approximate } from "./attribution-patch.ts";

/** What both are asked: options of `attributionPatch`, and of the exact sweep. */
export interface ComparedPatchOptions
  extends AttributionPatchOptions,
    Pick<ActivationPatchOptions, "onProgress" | "memoryBudget"> {}

export const COMPARED_PATCH_OPTIONS = s.object<ComparedPatchOptions>("the options of compareWithExact", {
  ...EXPERIMENT_FIELDS,
  ...PATCH_FIELDS,
});

/** What `compareWithExact` compares. */
export interface CompareOptions {
  /** How many cells are patched exactly, drawn without replacement. Default: all of a grid of at most 1024, else 1024. */
  sample?: number;
  /** Seed of the draw. Default 0. */
  seed?: number;
}

export const COMPARE_OPTIONS = s.object<CompareOptions>("how compareWithExact draws cells", {
  sample: s.wholeFrom(1),
  seed: s.whole,
});

/** A cell of the grid: what the patch does to the metric, in the metric's unit. */
export interface ComparedCell {
  /** Its place in the grid's values. */
  readonly index: number;
  /** The layer's number. */
  readonly layer: number;
  /** The number of the position or head. */
  readonly column: number;
  /** The head, where columns are its positions (`byPosition`). */
  readonly head?: number;
  /** The change of the metric as attribution patching has it. */
  readonly approximate: number;
  /** The change as it is. */
  readonly exact: number;
}

/** Attribution patching beside the truth. */
export interface AttributionComparison {
  /** The approximation, as `attributionPatch` gives it: every cell. */
  readonly grid: PatchGrid;
  /** The cells that were patched exactly, in the grid's order. */
  readonly cells: readonly ComparedCell[];
  /** Pearson's correlation of the two changes; NaN where one of them is the same in all cells. */
  readonly correlation: number;
  /** The cell where approximate and exact are furthest apart. */
  readonly worst: ComparedCell;
  /** |approximate - exact| of that cell. */
  readonly largestError: number;
  /** The largest |exact| of the cells, to measure the error by. */
  readonly largestChange: number;
  /**
   * Cells that change the metric the other way than attribution says, the largest exact change first. Changes below 1e-4
   * of the largest one count as none: their sign is rounding.
   */
  readonly signDiffers: readonly ComparedCell[];
}

const MOST_CELLS = 1024;
const SIGN_FLOOR = 1e-4;

/**
 * `attributionPatch` and, on a sample of its cells, `activationPatch`: correlation, largest error, and the cells where the
 * sign differs.
 *
 *     const { correlation, worst, signDiffers } = await compareWithExact(model, { clean, corrupted, metric, at: "z" });
 *
 * @throws as `attributionPatch` and `activationPatch`.
 */
export async function compareWithExact(
  model: HookedModel,
  given: ComparedPatchOptions,
  how: CompareOptions = {},
): Promise<AttributionComparison> {
  const options = readCall("compareWithExact", model, COMPARED_PATCH_OPTIONS, given);
  const { sample = MOST_CELLS, seed = 0 } = s.readOptions(COMPARE_OPTIONS, how, "compareWithExact");
  const plan = planPatch(model, options);
  const grid = await approximate(model, plan, options);
  const chosen = draw(grid.values.length, sample, seed);
  const [exact] = await sweepPatches(model, [plan], [options.metric], options, chosen);
  const { values, ofTarget } = exact as PatchResult;
  const changes = grid.change();
  const columns = grid.columns.indices;
  const cells = chosen.map(
    (index, place): ComparedCell => ({
      index,
      ...rowOf(grid.rows, Math.floor(index / columns.length)),
      column: columns[index % columns.length] as number,
      approximate: changes[index] as number,
      exact: (values[place] as number) - ofTarget,
    }),
  );
  return { grid, cells, ...statistics(cells) };
}

/** The layer of a row, and the head where rows are heads. */
function rowOf({ indices, pairs }: GridAxis, row: number): Pick<ComparedCell, "layer" | "head"> {
  if (!pairs) return { layer: indices[row] as number };
  const [layer, head] = pairs[row] as readonly [number, number];
  return { layer, head };
}

/** What is to be said of the cells together. */
function statistics(cells: readonly ComparedCell[]): Omit<AttributionComparison, "grid" | "cells"> {
  const worst = cells.reduce((a, b) => (errorOf(b) > errorOf(a) ? b : a));
  const largestChange = Math.max(...cells.map(({ exact }) => Math.abs(exact)));
  const floor = SIGN_FLOOR * Math.max(...cells.flatMap((cell) => [Math.abs(cell.exact), Math.abs(cell.approximate)]));
  const signDiffers = cells
    .filter(
      ({ approximate, exact }) => approximate * exact < 0 && Math.min(Math.abs(approximate), Math.abs(exact)) > floor,
    )
    .sort((a, b) => Math.abs(b.exact) - Math.abs(a.exact));
  return { correlation: pearson(cells), worst, largestError: errorOf(worst), largestChange, signDiffers };
}

const errorOf = ({ approximate, exact }: ComparedCell) => Math.abs(approximate - exact);

/** Covariance over the product of the deviations. */
function pearson(cells: readonly ComparedCell[]): number {
  const mean = (of: (cell: ComparedCell) => number) => cells.reduce((sum, cell) => sum + of(cell), 0) / cells.length;
  const [a, b] = [mean((cell) => cell.approximate), mean((cell) => cell.exact)];
  const covariance = mean((cell) => (cell.approximate - a) * (cell.exact - b));
  const variances = mean((cell) => (cell.approximate - a) ** 2) * mean((cell) => (cell.exact - b) ** 2);
  return covariance / Math.sqrt(variances);
}

/** `count` of the numbers below `total`, ascending: the head of a shuffle (Fisher and Yates). All when there are no more. */
function draw(total: number, count: number, seed: number): number[] {
  const numbers = Array.from({ length: total }, (_, index) => index);
  if (count >= total) return numbers;
  const random = RandomStream.fromSeed(seed);
  for (let place = 0; place < count; place++) {
    const other = place + Math.floor(random.next() * (total - place));
    [numbers[place], numbers[other]] = [numbers[other] as number, numbers[place] as number];
  }
  return numbers.slice(0, count).sort((a, b) => a - b);
}
