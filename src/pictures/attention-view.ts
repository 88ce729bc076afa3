/**
 * Where heads look: a panel for each head, its queries below each other and its keys side by side. One head alone is large, with a
 * name at each position. A weight of exactly 0, as of keys after the query, is left as the ground, which has its colour.
 */
import * as s from "../schema/schema.ts";
import { colourOf, colourScale } from "./colours.ts";
import { PictureError } from "./errors.ts";
import { drawGrid } from "./heat-map.ts";
import { axisLabels, numbered } from "./labels.ts";
import { assertDrawable, datumOf, digits, type NamedGrid } from "./named-grid.ts";
import { Picture } from "./picture.ts";
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

/** What is read of an activation cache. */
export interface PatternCache {
  readonly names: readonly string[];
  readonly positions: readonly (readonly number[])[];
  shape(name: string): readonly number[];
  read(name: string, slice?: { batch?: number; heads?: number }): Promise<Float32Array>;
}

/** Numbers of a pattern: [query, key], [head, query, key] or [batch, head, query, key]. */
export interface PatternTensor {
  readonly shape: readonly number[];
  readonly data: ArrayLike<number>;
}

/** The pattern of one head. */
interface Panel {
  layer: string;
  head: string;
  /** [queries, keys] */
  values: Float64Array;
}

interface Panels {
  panels: Panel[];
  /** Positions of the queries; keys are positions from 0 on. */
  queries: readonly number[];
  keys: number;
}

const CACHE = s.madeObject<PatternCache>("a cache", "names", "positions", "shape", "read");
const TENSOR = s.madeObject<PatternTensor>("numbers with a shape", "shape", "data");
const PATTERN = s.byForm<PatternCache | PatternTensor>(
  "a cache of a forward pass, or numbers { shape, data } of a pattern",
  (value) => {
    if (typeof value !== "object" || value === null) return undefined;
    return "read" in value ? CACHE : "data" in value ? TENSOR : undefined;
  },
);

type Checked = s.Read<AttentionViewOptions>;

/**
 * Draws the patterns that a cache has, or one that was read. It reads from the GPU, so it is awaited.
 * @throws PictureError for what is no pattern, or has too many cells; HookError as `ActivationCache.read`
 */
export async function attentionView(
  from: PatternCache | PatternTensor,
  given: AttentionViewOptions = {},
): Promise<Picture> {
  const source = s.readArgument(PATTERN, from, "attentionView", "from");
  const options = s.readOptions(ATTENTION_VIEW_OPTIONS, given, "attentionView");
  const read = "read" in source ? await readCache(source, options) : readTensor(source, options);
  const names = tokenNames(read.keys, options.tokens);
  const [only] = read.panels;
  assertDrawable("attentionView", read.panels.length * read.queries.length * read.keys);
  const measure = options.scores ? "score" : "attention";
  if (only && read.panels.length === 1) return drawHead(only, read, names, measure, options.title);
  return drawHeads(read, names, measure, options.title);
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

async function readCache(cache: PatternCache, options: Checked): Promise<Panels> {
  const { batch = 0, scores = false } = options;
  const point = scores ? "hook_attn_scores" : "hook_pattern";
  const layerOf = new Map(
    cache.names.flatMap((name) => {
      const [, layer, found] = /^blocks\.(\d+)\.attn\.(\w+)$/.exec(name) ?? [];
      return found === point ? [[Number(layer), name] as const] : [];
    }),
  );
  const layers = options.layers ?? [...layerOf.keys()];
  const missing = layers.find((layer) => !layerOf.has(layer));
  if (missing !== undefined || layers.length === 0)
    throw new PictureError(
      "picture/range",
      `attentionView: the cache has ${layers.length === 0 ? "no pattern" : `no ${point} of layer ${missing}`}. Capture "*.${point}".`,
    );
  const queries = cache.positions[batch];
  if (!queries) throw outside("batch entry", batch, cache.positions.length);
  const panels: Panel[] = [];
  let keys = 0;
  for (const layer of layers) {
    const name = layerOf.get(layer) as string;
    const [, nHeads = 0] = cache.shape(name);
    for (const head of chosenHeads(options.heads, nHeads)) {
      const values = await cache.read(name, { batch, heads: head });
      const width = cache.shape(name)[3] as number;
      keys = Math.min(width, Math.max(...queries) + 1);
      panels.push({ layer: `L${layer}`, head: `H${head}`, values: cut(values, 0, queries.length, keys, width) });
    }
  }
  return { panels, queries, keys };
}

function readTensor({ shape, data }: PatternTensor, options: Checked): Panels {
  const axes = s.isListLike(shape) ? Array.from(shape) : [];
  const size = axes.reduce((product, length) => product * length, 1);
  if (axes.length < 2 || axes.length > 4 || !s.isListLike(data) || data.length !== size)
    throw new PictureError(
      "picture/shape",
      `attentionView got ${s.isListLike(data) ? data.length : "no"} numbers of shape [${axes.join(", ")}]. A pattern is [batch, head, query, key], or its last axes.`,
    );
  for (const name of ["layers", "scores"] as const)
    if (options[name] !== undefined) s.refuseIdle("attentionView", name, "beside numbers, which are of one layer");
  const [batches, nHeads, queries, keys] = [...[1, 1].slice(axes.length - 2), ...axes] as [
    number,
    number,
    number,
    number,
  ];
  const { batch = 0 } = options;
  if (batch >= batches) throw outside("batch entry", batch, batches);
  const panels = chosenHeads(options.heads, nHeads).map((head) => ({
    layer: "",
    head: `H${head}`,
    values: cut(data, (batch * nHeads + head) * queries * keys, queries, keys, keys),
  }));
  return { panels, queries: Array.from({ length: queries }, (_, query) => keys - queries + query), keys };
}

/** Rows of a matrix, without what pads them. */
function cut(data: ArrayLike<number>, start: number, rows: number, columns: number, width: number): Float64Array {
  return Float64Array.from(
    { length: rows * columns },
    (_, index) => data[start + Math.floor(index / columns) * width + (index % columns)] as number,
  );
}

/** @throws PictureError `picture/range` */
function chosenHeads(heads: readonly number[] | undefined, count: number): number[] {
  const chosen = heads ?? Array.from({ length: count }, (_, head) => head);
  const bad = chosen.find((head) => head < 0 || head >= count);
  if (bad !== undefined) throw outside("head", bad, count);
  return [...chosen];
}

function outside(what: string, given: number, count: number): PictureError {
  return new PictureError(
    "picture/range",
    `attentionView: there is no ${what} ${given}; they go from 0 to ${count - 1}.`,
  );
}

function drawHead(
  { layer, head, values }: Panel,
  { queries }: Panels,
  names: readonly string[],
  measure: string,
  title = `${layer}${head}`,
): Picture {
  const grid: NamedGrid = {
    rows: { name: "query", labels: queries.map((query) => names[query] ?? String(query)) },
    columns: { name: "key", labels: names },
    values,
    measure,
  };
  const scale = colourScale(values, measure === "attention" ? { range: [0, 1] } : {});
  return drawGrid(grid, title, scale, false);
}

/** Pixels of a panel's side. */
const PANEL = 110;
/** The colour of 0 on the scale of patterns. */
const GROUND = "#440154";

function drawHeads({ panels, queries }: Panels, names: readonly string[], measure: string, title = measure): Picture {
  const isPattern = measure === "attention";
  const cells = panels.flatMap(({ layer, head, values }) =>
    Array.from(values, (value, index) => ({
      layer,
      head,
      query: names[queries[Math.floor(index / names.length)] as number],
      key: names[index % names.length],
      ...datumOf(value),
    })).filter(({ value }) => (isPattern ? value !== 0 : value !== null)),
  );
  const scale = colourScale(
    Float64Array.from(panels.flatMap(({ values }) => [...values])),
    isPattern ? { range: [0, 1] } : {},
  );
  const hasLayers = new Set(panels.map(({ layer }) => layer)).size > 1;
  const heads = new Set(panels.map(({ head }) => head)).size;
  const side = Math.max(PANEL, 2 * names.length);
  const spec = specOf(title, heads * side, {
    data: { values: cells },
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
      mark: "rect",
      encoding: {
        x: { field: "key", type: "nominal", scale: { domain: names }, axis: null },
        y: {
          field: "query",
          type: "nominal",
          scale: { domain: queries.map((query) => names[query]) },
          axis: null,
        },
        color: colourOf(measure, scale),
        description: { field: "label" },
        tooltip: { field: "label" },
      },
    },
  });
  const rows = panels.flatMap(({ layer, head, values }) =>
    queries.map((query, row) => [
      `${layer}${head} ${names[query]}`,
      ...names.map((_, key) => digits(values[row * names.length + key] as number)),
    ]),
  );
  return new Picture(title, spec, { columns: ["", ...names], rows });
}
