/**
 * Where heads look: a panel for each head, its queries below each other and its keys side by side. One head alone is large, with a
 * name at each position.
 */
import * as s from "../schema/schema.ts";
import { colourOf, colourScale } from "./colours.ts";
import { PictureError } from "./errors.ts";
import { drawGrid } from "./heat-map.ts";
import { axisLabels, numbered } from "./labels.ts";
import { assertDrawable, datumOf, digits } from "./named-grid.ts";
import { type Panel, type Panels, type PatternCache, type PatternTensor, readPatterns } from "./patterns.ts";
import { Picture, type PictureTable } from "./picture.ts";
import { numberText, specOf } from "./spec.ts";

/** Options of `attentionView`. */
export interface AttentionViewOptions {
  /** Above the picture. */
  title?: string;
  /** Which layers of a cache; all that it has when absent. */
  layers?: s.Indices;
  /** Which heads; all when absent. */
  heads?: s.Indices;
  /** Which prompt of the batch. Default 0. */
  batch?: number;
  /** The prompt's tokens, as `model.toStrTokens(prompt)` gives them: one for each key. Default: position numbers. */
  tokens?: readonly string[];
  /** Of a cache: the scores before the softmax (`hook_attn_scores`) in place of the pattern. */
  scores?: boolean;
}

export const ATTENTION_VIEW_OPTIONS = s.object<AttentionViewOptions>("the options of attentionView", {
  title: s.text,
  layers: s.indices,
  heads: s.indices,
  batch: s.wholeFrom(0),
  tokens: s.list("tokens as text", s.text),
  scores: s.flag,
});

/**
 * Draws the patterns that a cache has, or one that was read. It reads from the GPU, so it is awaited.
 * @throws PictureError for what is no pattern, or has too many cells; HookError as `ActivationCache.read`
 */
export async function attentionView(
  from: PatternCache | PatternTensor,
  given: AttentionViewOptions = {},
): Promise<Picture> {
  const { title, tokens, ...choice } = s.readOptions(ATTENTION_VIEW_OPTIONS, given, "attentionView");
  const read = await readPatterns(from, choice);
  const { panels, queries, keys } = read;
  assertDrawable("attentionView", panels.length * queries.length * keys);
  const names = tokenNames(keys, tokens);
  const [only] = panels as [Panel];
  const measure = choice.scores ? "score" : "attention";
  if (panels.length === 1) return drawHead(only, queries, names, measure, title ?? `${only.layer}${only.head}`);
  return drawHeads(read, names, measure, title ?? measure);
}

/** @throws PictureError `picture/labels` */
function tokenNames(keys: number, tokens: readonly string[] | undefined): string[] {
  if (tokens === undefined) return numbered(keys);
  if (tokens.length === keys) return axisLabels(tokens);
  throw new PictureError(
    "picture/labels",
    `attentionView: there are ${tokens.length} tokens for ${keys} keys. Give one for each, as model.toStrTokens(prompt) does.`,
  );
}

/** Weights lie between 0 and 1. */
const scaleOf = (values: Float64Array, measure: string) =>
  colourScale(values, measure === "attention" ? { range: [0, 1] } : {});

function drawHead(
  { values }: Panel,
  queries: readonly number[],
  names: readonly string[],
  measure: string,
  title: string,
): Picture {
  const rows = { name: "query", labels: queries.map((query) => names[query] as string) };
  const columns = { name: "key", labels: names };
  return drawGrid({ rows, columns, values, measure }, title, scaleOf(values, measure), false);
}

/** Pixels of a panel's side. */
const PANEL = 110;
/** The colour of 0 on the scale of weights. */
const GROUND = "#440154";
/** The colour of what is no number, which is on neither scale. */
const NO_NUMBER = "#ff5f5f";

function drawHeads({ panels, queries }: Panels, names: readonly string[], measure: string, title: string): Picture {
  const all = Float64Array.from(panels.flatMap(({ values }) => Array.from(values)));
  const isPattern = measure === "attention";
  const side = Math.max(PANEL, 2 * names.length);
  const hasLayers = new Set(panels.map(({ layer }) => layer)).size > 1;
  const axis = (field: string, domain: readonly unknown[]) => ({
    field,
    type: "nominal",
    scale: { domain },
    axis: null,
  });
  const spec = specOf(title, side * new Set(panels.map(({ head }) => head)).size, {
    data: { values: cellsOf(panels, queries, names) },
    transform: [
      {
        calculate: `datum.layer + datum.head + ', ' + datum.query + ' to ' + datum.key + ': ' + (${numberText("value")})`,
        as: "label",
      },
    ],
    facet: {
      column: { field: "head", sort: null, title: null },
      ...(hasLayers && { row: { field: "layer", sort: null, title: null } }),
    },
    spacing: 8,
    spec: {
      width: side,
      height: side,
      ...(isPattern && { view: { fill: GROUND } }),
      mark: { type: "rect", invalid: "show" },
      encoding: {
        x: axis("key", names),
        y: axis(
          "query",
          queries.map((query) => names[query]),
        ),
        color: {
          condition: { test: "!isValid(datum.value)", value: NO_NUMBER },
          ...colourOf(measure, scaleOf(all, measure)),
        },
        description: { field: "label" },
        tooltip: { field: "label" },
      },
    },
  });
  return new Picture(title, spec, tableOf(panels, queries, names));
}

/** The cells of all panels, but for keys after the query where they have no part: weight 0, score -Infinity. */
function cellsOf(panels: readonly Panel[], queries: readonly number[], names: readonly string[]) {
  return panels.flatMap(({ layer, head, values }) =>
    Array.from(values).flatMap((value, index) => {
      const query = queries[Math.floor(index / names.length)] as number;
      const key = index % names.length;
      if (key > query && (value === 0 || value === Number.NEGATIVE_INFINITY)) return [];
      return [{ layer, head, query: names[query], key: names[key], ...datumOf(value) }];
    }),
  );
}

function tableOf(panels: readonly Panel[], queries: readonly number[], names: readonly string[]): PictureTable {
  const rows = panels.flatMap(({ layer, head, values }) =>
    queries.map((query, row) => [
      `${layer}${head} ${names[query]}`,
      ...names.map((_, key) => digits(values[row * names.length + key] as number)),
    ]),
  );
  return { columns: ["", ...names], rows };
}
