/**
 * What an edit can change: its forward cone, as the rows a sweep has to compute.
 *
 * An edit at (layer, position) cannot change earlier layers, nor earlier positions (causality). A row of the cell, one
 * position, therefore joins the pass at the first layer where something it reads is changed, and takes its residual from
 * the base run there. Edits that come before the keys and values of their layer change later positions in that layer;
 * those that come after change them from the next layer on.
 *
 * Without causality an edit reaches every position, earlier ones too, so that all rows of a cell join where the first does.
 */
import { isCausal } from "../model/causality.ts";
import type { ModelSpec } from "../model/spec.ts";
import type { CompiledEdit } from "./edit.ts";
import { type Point, resolvePoint } from "./points.ts";

/** Where the rows of one cell start. */
export interface Cone {
  /** First position computed; the cell's rows are one for each entry of `joins`, as a rule up to the metric's position. */
  first: number;
  /** Layer at which each of those rows joins. */
  joins: number[];
}

/**
 * The rows a cell needs for logits at `end`, or undefined when no edit can change them.
 *
 * Rows before a row join no later than it does, so that a row never reads a key that its cell has not computed.
 */
export function coneOf(spec: ModelSpec, edits: readonly CompiledEdit[], end: number, length: number): Cone | undefined {
  if (!isCausal(spec)) return wholeCone(spec, edits, end, length);
  const joins = new Array<number>(end + 1).fill(Number.POSITIVE_INFINITY);
  const reach = (position: number, layer: number) => {
    if (layer < spec.nLayers && layer < (joins[position] as number)) joins[position] = layer;
  };
  for (const { point, targets } of edits) {
    const layer = layerOf(spec, point);
    const later = changesKeys(spec, point) ? layer : layer + 1;
    const positions = new Set(targets.map(({ position }) => position).filter((position) => position <= end));
    if (positions.size === 0) continue;
    for (const position of positions) {
      // In the last layer a row that gives no logits matters only through its keys and values.
      if (layer < spec.nLayers - 1 || position === end || later === layer) reach(position, layer);
    }
    const earliest = Math.min(...positions);
    for (let position = earliest + 1; position <= end; position++) reach(position, later);
  }
  for (let position = end - 1; position >= 0; position--) {
    const next = joins[position + 1] as number;
    if (next < (joins[position] as number) && joins[position] !== Number.POSITIVE_INFINITY) joins[position] = next;
  }
  const first = joins.findIndex((layer) => layer !== Number.POSITIVE_INFINITY);
  if (first < 0 || joins[end] === Number.POSITIVE_INFINITY) return undefined;
  return { first, joins: joins.slice(first) };
}

/** The cone without causality: every row of the sequence, from the earliest layer that an edit can change. */
function wholeCone(spec: ModelSpec, edits: readonly CompiledEdit[], end: number, length: number): Cone | undefined {
  const last = spec.nLayers - 1;
  const reached = edits.flatMap(({ point, targets }) => {
    const layer = layerOf(spec, point);
    // In the last layer a row that gives no logits matters only through its keys and values.
    const counts = layer < last || changesKeys(spec, point) || targets.some(({ position }) => position === end);
    return counts && targets.length > 0 ? [layer] : [];
  });
  return reached.length === 0 ? undefined : { first: 0, joins: new Array<number>(length).fill(Math.min(...reached)) };
}

/** The block where an edit takes effect. What lies after the blocks is redone from the last block on. */
function layerOf(spec: ModelSpec, point: Point): number {
  if (point.layer !== undefined) return point.layer;
  return /^(ln_final|logits)/.test(point.name) ? spec.nLayers - 1 : 0;
}

/** Whether the point comes before its block's keys and values are stored. */
export function changesKeys(spec: ModelSpec, point: Point): boolean {
  if (point.layer === undefined) return !/^(ln_final|logits)/.test(point.name);
  // hook_rot_k is the last such point where it exists; queries are no keys.
  if (/hook_(rot_)?q$/.test(point.name)) return false;
  const scores = resolvePoint(spec, `blocks.${point.layer}.attn.hook_attn_scores`);
  return point.order < scores.order && !point.name.includes(".ln2.");
}
