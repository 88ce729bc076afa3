/**
 * Attention patterns in a few numbers for each head: how spread out (entropy), how far back (distance), how much on the first
 * token, and which positions most. Patterns grow with the square of the length. So the GPU computes these numbers, and
 * captures a few layers at a time if all would not fit.
 */
import { HookError } from "../../errors.ts";
import { Recorder } from "../../gpu/recorder.ts";
import { isCausal } from "../../model/causality.ts";
import { isEmbeds, type ModelInput, toIds, vectorsOf } from "../../model/input.ts";
import { LONG_CALL_FIELDS, type LongCallOptions, reportProgress } from "../../model/long-call.ts";
import * as s from "../../schema/schema.ts";
import type { HookedModel } from "../hooked-model.ts";
import { ATTENTION_SUM_NAMES, type AttentionSum, attentionSums, NO_QUERY, topK } from "./kernels.ts";
import { type Activations, cacheOf, chosenLayers, type ReadoutSource, readSource, withActivations } from "./source.ts";

const DEFAULT_BUDGET = 256 << 20;
/** The sums that a summary has a mean of. */
const SUMMARIZED = ["entropy", "distance", "first"] as const;

/** Options of `attentionSummary`. */
export interface AttentionSummaryOptions extends LongCallOptions {
  /** Blocks; negative from the last. All when absent. */
  layers?: s.Indices;
  /** How many of the most attended positions to give for each query; default 3. */
  topK?: number;
  /** Bytes of GPU memory that patterns may take at a time; the model runs again for each group of layers. Default 256 MB. */
  memoryBudget?: number;
}

export const ATTENTION_SUMMARY_OPTIONS = s.object<AttentionSummaryOptions>("the options of attentionSummary", {
  layers: s.indices,
  topK: s.ranged("a whole number of at least 1"),
  memoryBudget: s.positive,
  ...LONG_CALL_FIELDS,
});

/** Arrays are [layer, head, batch, query], row-major; zeros for queries a shorter sequence does not have. */
export interface AttentionSummary {
  /** The layers that were summarized. */
  layers: readonly number[];
  /** [layers, heads, batch, queries]. */
  shape: readonly [number, number, number, number];
  /** For each sequence the queries' positions. */
  positions: readonly (readonly number[])[];
  /** -sum a log a over the keys, in nats: 0 for one key, log(n) for n keys alike. */
  entropy: Float32Array;
  /** sum a (query - key): the mean number of positions looked back; keys after the query count as negative. */
  distance: Float32Array;
  /** Attention on position 0, where models that begin with BOS have it. */
  first: Float32Array;
  /** The most attended positions, most first, and the attention on each: [layer, head, batch, query, topK]. */
  topPositions: Uint32Array;
  /** Attention on each of `topPositions`. */
  topWeights: Float32Array;
  topK: number;
  /** Mean over all queries of all sequences, [layer, head]. */
  mean: Record<"entropy" | "distance" | "first", Float32Array>;
}

/**
 * Sums up the attention patterns of a run.
 * @throws HookError for a layer that does not exist, or a cache without the patterns (`blocks.*.attn.hook_pattern`).
 */
export async function attentionSummary(
  model: HookedModel,
  from: ReadoutSource,
  given: AttentionSummaryOptions = {},
): Promise<AttentionSummary> {
  const { source, options } = readSource("attentionSummary", model, from, ATTENTION_SUMMARY_OPTIONS, given);
  const layers = chosenLayers(options.layers, model.spec.nLayers - 1);
  const wanted = options.topK ?? 3;
  if (!Number.isInteger(wanted) || wanted < 1)
    throw new HookError("hook/top-k", `topK is ${wanted}; it must be a whole number from 1 on.`);
  const parts: LayerSums[] = [];
  const { memoryBudget, onProgress, signal } = options;
  const request = { topK: wanted, memoryBudget, onProgress, signal };
  await eachPattern(model, source, layers, request, (part) => parts.push(part));
  const { batch, queries, top, positions } = parts[0] as LayerSums;
  const { nHeads } = model.spec;
  const shape = [layers.length, nHeads, batch, queries] as const;
  const perLayer = nHeads * batch * queries;
  const zeros = (count = 1) => new Float32Array(layers.length * perLayer * count);
  const sums = { entropy: zeros(), distance: zeros(), first: zeros() };
  const [topPositions, topWeights] = [new Uint32Array(layers.length * perLayer * top), zeros(top)];
  for (const [layer, part] of parts.entries()) {
    const of = byHead(part, nHeads);
    for (const name of SUMMARIZED) sums[name].set(of(name), layer * perLayer);
    placeTop(part, nHeads, layer, topPositions, topWeights);
  }
  const mean = (name: (typeof SUMMARIZED)[number]) =>
    meanOfQueries(sums[name], layers.length * nHeads, batch * queries, positions);
  const means = { entropy: mean("entropy"), distance: mean("distance"), first: mean("first") };
  return { layers, shape, positions, ...sums, topPositions, topWeights, topK: top, mean: means };
}

/** What was read of one layer's pattern [batch, head, query, key]. */
export interface LayerSums {
  batch: number;
  queries: number;
  positions: readonly (readonly number[])[];
  /** [batch, head, query, 7], in the order of `ATTENTION_SUM_NAMES`. */
  sums: Float32Array;
  /** [batch, head, query, top, (position, bits of the weight)]. */
  tops: ArrayBuffer;
  top: number;
}

export interface PatternRequest extends s.Read<LongCallOptions> {
  topK: number;
  /** Tokens of each sequence, for duplicate and induction sums. */
  ids?: readonly (readonly number[])[];
  excludeFirst?: boolean | undefined;
  excludeCurrent?: boolean | undefined;
  memoryBudget?: number | undefined;
}

/** Calls `visit` with the sums of each layer, in order; runs the model once for as many layers as fit. */
export async function eachPattern(
  model: HookedModel,
  source: ReadoutSource,
  layers: readonly number[],
  request: PatternRequest,
  visit: (sums: LayerSums, layer: number) => void,
): Promise<void> {
  let done = 0;
  for (const group of layerGroups(model, source, layers, request.memoryBudget)) {
    const points = group.map((layer) => `blocks.${layer}.attn.hook_pattern`);
    await withActivations(model, source, { points: () => points, signal: request.signal }, async (activations) => {
      for (const [index, point] of points.entries()) {
        visit(await readSums(model, activations, point, request), group[index] as number);
        done += 1;
        await reportProgress(request, done, layers.length);
      }
    });
  }
}

function layerGroups(
  model: HookedModel,
  source: ReadoutSource,
  layers: readonly number[],
  budget = DEFAULT_BUDGET,
): number[][] {
  if (cacheOf(source)) return [[...layers]];
  const lengths = lengthsOf(model, source as ModelInput);
  const bytes = 4 * lengths.length * model.spec.nHeads * Math.max(...lengths) ** 2;
  const perGroup = Math.max(1, Math.floor(budget / bytes));
  return Array.from({ length: Math.ceil(layers.length / perGroup) }, (_, group) =>
    layers.slice(group * perGroup, (group + 1) * perGroup),
  );
}

function lengthsOf(model: HookedModel, input: ModelInput): number[] {
  if (isEmbeds(input)) return vectorsOf(input).vectors.map((embeds) => Math.ceil(embeds.length / model.spec.dModel));
  return toIds(input, model).map((ids) => ids.length);
}

async function readSums(
  model: HookedModel,
  activations: Activations,
  point: string,
  request: PatternRequest,
): Promise<LayerSums> {
  const pattern = activations.tensor(point);
  const [batch = 0, nHeads = 0, queries = 0, keys = 0] = pattern.shape;
  const { positions } = activations;
  const top = Math.min(request.topK, keys);
  const read = await Recorder.run(model.gpu, "attention summary", (recorder) => {
    const queryPositions = recorder.upload(padded(positions, queries, NO_QUERY));
    const tokens = request.ids && recorder.upload(padded(request.ids, keys, 0));
    const sums = attentionSums(recorder, {
      pattern,
      queryPositions,
      tokens,
      excludeFirst: request.excludeFirst,
      excludeCurrent: request.excludeCurrent,
      causal: isCausal(model.spec),
    });
    const tops = top > 0 ? recorder.readback(topK(recorder, pattern, batch * nHeads * queries, keys, top)) : undefined;
    return { sums: recorder.readback(sums), tops };
  });
  return {
    batch,
    queries,
    positions,
    sums: new Float32Array(read.sums.bytes),
    tops: read.tops?.bytes ?? new ArrayBuffer(0),
    top,
  };
}

function padded(lists: readonly (readonly number[])[], width: number, filler: number): Uint32Array {
  const out = new Uint32Array(lists.length * width).fill(filler);
  lists.forEach((list, row) => {
    out.set(list, row * width);
  });
  return out;
}

/** Index of [head, batch, query] in the GPU's [batch, head, query]. */
function sourceIndex(index: number, nHeads: number, { batch, queries }: LayerSums): number {
  const query = index % queries;
  const sequence = Math.floor(index / queries) % batch;
  const head = Math.floor(index / queries / batch);
  return (sequence * nHeads + head) * queries + query;
}

/** One of the sums as [head, batch, query]. */
export function byHead(part: LayerSums, nHeads: number): (name: AttentionSum) => Float32Array {
  const count = nHeads * part.batch * part.queries;
  const width = ATTENTION_SUM_NAMES.length;
  return (name) => {
    const column = ATTENTION_SUM_NAMES.indexOf(name);
    return Float32Array.from(
      { length: count },
      (_, index) => part.sums[sourceIndex(index, nHeads, part) * width + column] as number,
    );
  };
}

function placeTop(
  part: LayerSums,
  nHeads: number,
  layer: number,
  topPositions: Uint32Array,
  topWeights: Float32Array,
): void {
  const { batch, queries, top } = part;
  const [positions, weights] = [new Uint32Array(part.tops), new Float32Array(part.tops)];
  const count = nHeads * batch * queries;
  for (let index = 0; index < count; index++) {
    const sequence = Math.floor(index / queries) % batch;
    if (index % queries >= (part.positions[sequence] as readonly number[]).length) continue;
    const from = sourceIndex(index, nHeads, part) * top;
    for (let rank = 0; rank < top; rank++) {
      const to = (layer * count + index) * top + rank;
      topPositions[to] = positions[2 * (from + rank)] as number;
      topWeights[to] = weights[2 * (from + rank) + 1] as number;
    }
  }
}

/** Means over the last `inner` entries of each of `outer` groups, counting only queries that exist. */
function meanOfQueries(
  values: Float32Array,
  outer: number,
  inner: number,
  positions: readonly (readonly number[])[],
): Float32Array {
  const existing = positions.reduce((sum, list) => sum + list.length, 0);
  return Float32Array.from({ length: outer }, (_, group) => {
    let sum = 0;
    for (let index = group * inner; index < (group + 1) * inner; index++) sum += values[index] as number;
    return sum / existing;
  });
}
