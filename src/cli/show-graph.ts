/**
 * `superlens inspect MODEL --graph`: the ops of a forward pass, as traced and as they run. It reads only `config.json`, since
 * a graph depends on the spec, not on weights or a GPU.
 */
import { openSource } from "../checkpoint/index.ts";
import { readJsonFile } from "../checkpoint/json-file.ts";
import { describeGraph, type GraphText, graphLines, type Section } from "../graph/describe.ts";
import { drawSection } from "../graph/draw.ts";
import { fuse } from "../graph/fuse.ts";
import { insertHooks } from "../graph/hooks.ts";
import { place } from "../graph/place.ts";
import { prune } from "../graph/prune.ts";
import { isNarrowed, type Point, resolvePoints } from "../hooks/points.ts";
import { specFromConfig } from "../model/families/index.ts";
import type { ModelSpec } from "../model/spec.ts";
import { type PassForm, trace } from "../model/trace.ts";
import { WEIGHTS, type WeightName } from "../model/weights/table.ts";
import type { WeightRef } from "../ops/op.ts";
import { print, printJson } from "./output.ts";
import { whileOpening } from "./session.ts";
import { writeFileWhole } from "./write-file.ts";

export const LOGIT_ROWS = ["all", "last", "sweep"] as const;

/** All rows; the last of each sequence; those of a sweep, whose cells join at the layer where they differ from the base run. */
export type LogitRows = (typeof LOGIT_ROWS)[number];

export interface ShowGraphOptions {
  /** Points or patterns that are captured. */
  capture?: string[];
  /** Which rows give logits. */
  rows?: LogitRows;
  /** The block that is shown. */
  layer?: number;
  /** A file for the drawing. */
  svg?: string;
  json?: boolean;
  quiet?: boolean;
}

/** Prints the graph of the model that `name` names; `refuse` ends the command for a block that it does not have. */
export async function showGraph(name: string, options: ShowGraphOptions, refuse: (message: string) => never) {
  const { capture = [], rows = "all", svg, json, quiet } = options;
  const spec = await specOf(name, quiet);
  // Rows are dropped in the last block.
  const { layer = rows === "all" ? 0 : spec.nLayers - 1 } = options;
  if (layer >= spec.nLayers) refuse(`--layer ${layer}: this ${spec.family} model has blocks 0 to ${spec.nLayers - 1}`);
  const text = graphText(spec, capture, rows);
  const sections: Section[] = ["embedding", layer, "unembedding"];
  const isShown = ({ section }: { section: Section }) => sections.includes(section);
  if (svg !== undefined) await writeFileWhole(svg, [new TextEncoder().encode(drawSection(text, layer, spec.family))]);
  if (json) printJson({ model: name, before: text.traced.filter(isShown), after: text.placed.filter(isShown) });
  else print(...graphLines(text, sections));
}

async function specOf(name: string, quiet?: boolean): Promise<ModelSpec> {
  const opening = whileOpening(quiet);
  const { source } = await openSource(name, { url: opening, hub: opening });
  try {
    return specFromConfig(await readJsonFile(source, "config.json"), `${source.label}/config.json`);
  } finally {
    await source.close?.();
  }
}

/** The pass of a model, with captures of the points that match. */
export function graphText(spec: ModelSpec, capture: readonly string[] = [], rows: LogitRows = "all"): GraphText {
  const captures = capture.length > 0 ? resolvePoints(spec, capture) : [];
  const graph = prune(insertHooks(trace(spec, formOf(spec, captures, rows)), { edits: [], callbacks: [], captures }));
  return describeGraph(graph, place(fuse(graph)), (weight) => hasWeight(spec, weight));
}

/** The last block drops rows that give no logits, unless a capture shows them: then they are dropped before the unembedding. */
function formOf(spec: ModelSpec, captures: readonly Point[], rows: LogitRows): PassForm {
  if (rows === "all") return {};
  if (rows === "last" && captures.some((point) => isNarrowed(spec, point))) return { logits: "picked" };
  return { narrow: true, joins: rows === "sweep" };
}

/** Ops name every weight that they would use; a bias may be one that the model lacks. */
function hasWeight({ weights, unembed }: ModelSpec, { name }: WeightRef): boolean {
  if (name === "W_U" && unembed.tied) return true;
  return (Object.keys(weights) as WeightName[]).some((key) => WEIGHTS[key].place.split(".")[0] === name);
}
