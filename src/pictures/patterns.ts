/** Attention patterns out of a cache or of numbers, head by head: what `attentionView` draws. */
import * as s from "../schema/schema.ts";
import { PictureError } from "./errors.ts";

/** What is read of an activation cache. */
export interface PatternCache {
  readonly names: readonly string[];
  readonly positions: readonly (readonly number[])[];
  /** The axes of a point. */
  shape(name: string): readonly number[];
  /** A point's numbers, or those of a part. */
  read(name: string, slice?: { batch?: number; heads?: number }): Promise<Float32Array>;
}

/** Numbers of a pattern: [query, key], [head, query, key] or [batch, head, query, key]. */
export interface PatternTensor {
  readonly shape: readonly number[];
  readonly data: ArrayLike<number>;
}

/** The pattern of one head. */
export interface Panel {
  layer: string;
  head: string;
  /** [queries, keys] */
  values: Float64Array;
}

export interface Panels {
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

/** Which of the patterns. */
export interface PatternChoice {
  layers?: readonly number[] | undefined;
  heads?: readonly number[] | undefined;
  batch?: number | undefined;
  scores?: boolean | undefined;
}

/** @throws PictureError `picture/range`, `picture/shape`; InputError `input/argument` */
export async function readPatterns(from: unknown, choice: PatternChoice): Promise<Panels> {
  const source = s.readArgument(PATTERN, from, "attentionView", "from");
  return "read" in source ? await readCache(source, choice) : readTensor(source, choice);
}

async function readCache(cache: PatternCache, choice: PatternChoice): Promise<Panels> {
  const { batch = 0 } = choice;
  const queries = cache.positions[batch];
  if (!queries) throw outside("batch entry", batch, cache.positions.length);
  const panels: Panel[] = [];
  let keys = 0;
  for (const [layer, name] of chosenPoints(cache, choice)) {
    const [, nHeads = 0, , width = 0] = cache.shape(name);
    keys = Math.min(width, Math.max(...queries) + 1);
    for (const head of chosenHeads(choice.heads, nHeads)) {
      const values = await cache.read(name, { batch, heads: head });
      panels.push({ layer: `L${layer}`, head: `H${head}`, values: cut(values, 0, queries.length, keys, width) });
    }
  }
  return { panels, queries, keys };
}

/** Layers with the names of their points. @throws PictureError `picture/range` */
function chosenPoints({ names }: PatternCache, { layers, scores = false }: PatternChoice): [number, string][] {
  const point = scores ? "hook_attn_scores" : "hook_pattern";
  const nameOf = (layer: number) => `blocks.${layer}.attn.${point}`;
  const captured = names.flatMap((name) => {
    const layer = Number(/^blocks\.(\d+)\./.exec(name)?.[1]);
    return name === nameOf(layer) ? [layer] : [];
  });
  const chosen = layers ?? captured;
  const missing = chosen.find((layer) => !captured.includes(layer));
  if (missing === undefined && chosen.length > 0) return chosen.map((layer) => [layer, nameOf(layer)]);
  throw new PictureError(
    "picture/range",
    `attentionView: the cache has no ${point}${missing === undefined ? "" : ` of layer ${missing}`}. Capture "*.${point}".`,
  );
}

function readTensor({ shape, data }: PatternTensor, choice: PatternChoice): Panels {
  const axes = s.isListLike(shape) ? Array.from(shape) : [];
  const size = axes.reduce((product, length) => product * length, 1);
  if (axes.length < 2 || axes.length > 4 || !s.isListLike(data) || data.length !== size)
    throw new PictureError(
      "picture/shape",
      `attentionView got ${s.isListLike(data) ? data.length : "no"} numbers of shape [${axes.join(", ")}]. A pattern is [batch, head, query, key], or its last axes.`,
    );
  for (const name of ["layers", "scores"] as const)
    if (choice[name] !== undefined) s.refuseIdle("attentionView", name, "beside numbers, which are of one layer");
  const [batches, nHeads, queries, keys] = [...[1, 1].slice(axes.length - 2), ...axes] as [
    number,
    number,
    number,
    number,
  ];
  const { batch = 0 } = choice;
  if (batch >= batches) throw outside("batch entry", batch, batches);
  const panels = chosenHeads(choice.heads, nHeads).map((head) => ({
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
