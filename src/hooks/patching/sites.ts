/** Where an experiment acts: short names for the points of a block, and the layers, heads and positions chosen there. */
import { HookError, InputError } from "../../errors.ts";
import type { TextModel } from "../../model/input.ts";
import type { ModelSpec } from "../../model/spec.ts";
import { nKvHeadsOf } from "../../model/weights/table.ts";
import * as s from "../../schema/schema.ts";
import type { ActivationCache } from "../activation-cache.ts";
import type { Edit } from "../edit.ts";
import type { Metric } from "../metrics.ts";
import { resolvePoint } from "../points.ts";
import type { GridAxis } from "./grid.ts";

/** Point of each site within its block. */
const SITES = {
  resid_pre: "hook_resid_pre",
  resid_mid: "hook_resid_mid",
  resid_post: "hook_resid_post",
  attn_out: "hook_attn_out",
  mlp_out: "hook_mlp_out",
  mlp_post: "mlp.hook_post",
  q: "attn.hook_q",
  k: "attn.hook_k",
  v: "attn.hook_v",
  z: "attn.hook_z",
  pattern: "attn.hook_pattern",
} as const;

/** Sites that have one vector for each position. */
export type LayerSite = (typeof LAYER_SITES)[number];

/** Sites that have one vector for each position and head; k and v have key-value heads. */
export type HeadSite = (typeof HEAD_SITES)[number];

/** Everything that can be patched; `pattern` has one row of weights for each query and head. */
export type Site = LayerSite | HeadSite | "pattern";

const LAYER_SITES = ["resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "mlp_post"] as const;
const HEAD_SITES = ["q", "k", "v", "z"] as const;

export const LAYER_SITE = s.oneOf(...LAYER_SITES);
export const LAYER_OR_HEAD_SITE = s.oneOf(...LAYER_SITES, ...HEAD_SITES);
export const SITE_NAMES = [...LAYER_SITES, ...HEAD_SITES, "pattern"] as const;
export type SiteName = (typeof SITE_NAMES)[number];
export const SITE = s.oneOf(...SITE_NAMES);

/** A site of one model, with the layers chosen. */
export interface ResolvedSite {
  layers: readonly number[];
  /** Heads of the site; 0 where it has none. */
  heads: number;
  /** The point's name in a layer. */
  nameAt(layer: number): string;
  /** Names in the chosen layers. */
  names: string[];
}

/** @throws HookError for a site that the model does not have, or layers outside it. */
export function resolveSite(spec: ModelSpec, site: Site, layers?: readonly number[]): ResolvedSite {
  const nameAt = (layer: number) => `blocks.${layer}.${SITES[site]}`;
  const chosen = pick(layers, spec.nLayers, "layer");
  const points = chosen.map((layer) => resolvePoint(spec, nameAt(layer)));
  const axes = points[0]?.kind.axes ?? [];
  const heads = axes.includes("head") ? spec.nHeads : axes.includes("kvHead") ? kvHeadsOf(spec, chosen) : 0;
  return { layers: chosen, heads, nameAt, names: points.map(({ name }) => name) };
}

/** As many as each of the layers has. @throws HookError `hook/head-range` where they have not as many */
function kvHeadsOf(spec: ModelSpec, layers: readonly number[]): number {
  const counts = [...new Set(layers.map((layer) => nKvHeadsOf(spec, layer)))];
  if (counts.length > 1)
    throw new HookError(
      "hook/head-range",
      `The layers have ${counts.join(" and ")} key-value heads. Choose layers with as many.`,
    );
  return counts[0] ?? spec.nKvHeads;
}

/** The chosen heads. @throws HookError for a site without heads or a head it does not have. */
export function pickHeads(site: ResolvedSite, heads: readonly number[] | undefined): number[] {
  if (site.heads === 0 && heads)
    throw new HookError("hook/head-range", `${site.names[0]} has no heads. Leave heads out.`);
  return pick(heads, site.heads, "head");
}

function pick(chosen: readonly number[] | undefined, count: number, what: "layer" | "head"): number[] {
  if (!chosen) return Array.from({ length: count }, (_, index) => index);
  if (chosen.length === 0)
    throw new HookError("hook/empty-selection", `${what}s is empty. Leave it out to select all.`);
  const bad = chosen.find((index) => !Number.isInteger(index) || index < 0 || index >= count);
  if (bad !== undefined)
    throw new HookError(`hook/${what}-range`, `There is no ${what} ${bad}; they go from 0 to ${count - 1}.`);
  return [...chosen];
}

/** Absolute positions, all when none are chosen. @throws HookError for one outside the prompt. */
export function pickPositions(chosen: readonly number[] | undefined, length: number): number[] {
  if (!chosen) return Array.from({ length }, (_, position) => position);
  if (chosen.length === 0)
    throw new HookError("hook/empty-selection", "positions is empty. Leave it out to select all.");
  return chosen.map((position) => absolute(position, length));
}

/** The position that the metric reads. @throws InputError as `sweep` does. */
export function metricEnd(position: number | undefined, length: number): number {
  const end = (position ?? -1) < 0 ? length + (position ?? -1) : (position as number);
  if (Number.isInteger(end) && end >= 0 && end < length) return end;
  throw new InputError("input/position-range", `metricPosition is ${position}; the prompt has ${length} tokens.`);
}

function absolute(position: number, length: number): number {
  const place = position < 0 ? length + position : position;
  if (Number.isInteger(place) && place >= 0 && place < length) return place;
  throw new HookError("hook/position-range", `There is no position ${position}; the prompt has ${length} tokens.`);
}

/** The last residual, which decides the logits alone. */
export function lastResidual({ nLayers }: ModelSpec): string {
  return `blocks.${nLayers - 1}.hook_resid_post`;
}

/** The points that decide the outcomes of metrics: those that are projected, and the last residual. */
export function outcomePoints(spec: ModelSpec, metrics: readonly Metric[]): string[] {
  return [
    ...new Set([...metrics.flatMap(({ kind, at }) => (kind === "project" && at ? [at] : [])), lastResidual(spec)]),
  ];
}

/**
 * A cell that has the outcome of another run, whose `outcomePoints` at `end` are in the cache. Its metric so comes with the
 * sweep; setting the logits instead would make every cell compute all of them.
 */
export function outcomeCell(points: readonly string[], cache: ActivationCache, end: number): Edit[] {
  return points.map((at) => ({ at, op: "set", positions: [end], value: cache.at(at) }));
}

export function layerAxis(layers: readonly number[]): GridAxis {
  return { name: "layer", indices: layers, labels: layers.map((layer) => `L${layer}`) };
}

export function headAxis(heads: readonly number[]): GridAxis {
  return { name: "head", indices: heads, labels: heads.map((head) => `H${head}`) };
}

/** The heads of each layer, `L0H3`. */
export function layerHeadAxis(layers: readonly number[], heads: readonly number[]): GridAxis {
  const pairs = layers.flatMap((layer) => heads.map((head) => [layer, head] as const));
  const labels = pairs.map(([layer, head]) => `L${layer}H${head}`);
  return { name: "layerHead", indices: pairs.map((_, index) => index), labels, pairs };
}

/** Positions with their tokens, `5:Lily`. */
export function positionAxis({ tokenizer }: TextModel, ids: readonly number[], positions: readonly number[]): GridAxis {
  const text = (id: number) =>
    tokenizer && id < tokenizer.vocabSize ? JSON.stringify(tokenizer.tokenText(id)).slice(1, -1) : `#${id}`;
  return {
    name: "position",
    indices: positions,
    labels: positions.map((position) => `${position}:${text(ids[position] as number)}`),
  };
}

/** The one column of an experiment on whole layers. */
export const WHOLE_LAYER: GridAxis = { name: "whole", indices: [0], labels: ["all"] };
