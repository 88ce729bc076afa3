/**
 * What the page can ask of the engine. Each call takes plain data and gives plain data, and each is a few lines on the public
 * API: a script that does the same needs no more.
 */

import type { Report } from "../../bench/report.ts";
import type { Edit } from "../../hooks/index.ts";
import {
  attentionSummary,
  attributionPatch,
  directLogitAttribution,
  headScores,
  type LensToken,
  logitLens,
} from "../../hooks/index.ts";
import { adapterLine } from "../../hosts/adapters.ts";
import { likeliest, logSoftmax } from "../../model/drafts/log-softmax.ts";
import type { GenerateOptions } from "../../model/generate.ts";
import { dValueOf, nKvHeadsOf } from "../../model/weights/table.ts";
import type { Running } from "../protocol.ts";
import type { BenchArgs } from "./benchmark.ts";
import { figure } from "./figures.ts";
import { addressOf, describeModel, type FoundModel, inspectSource, type SourceChoice, sourceOf } from "./models.ts";
import { columnsOf, type GridPart, type MetricChoice, metricOf, type PatchArgs, patchByLayer } from "./patching.ts";
import { current, gpu, idsOf, labelOf, load, openBeside } from "./session.ts";
import { superposition } from "./superposition.ts";
import type { TrainArgs, TrainingState } from "./training.ts";

/** A token with its place in the next-token distribution. */
export interface Likely {
  readonly id: number;
  readonly label: string;
  readonly probability: number;
  readonly logit: number;
}

interface TextArgs {
  readonly text: string;
  readonly edits: readonly Edit[];
}

/** Which adapter runs, in words, or the error that says why none does. */
async function adapter(_args: object) {
  const { host } = await gpu();
  return { line: adapterLine(host.adapterInfo) };
}

/** Loads a model in place of the one before, and says what it is. */
async function loadModel({ source }: { source: SourceChoice; attempt: number }, running: Running) {
  if (!("trained" in source)) return describeModel(await load(sourceOf(source), running));
  (await import("./training.ts")).assertTrained(source.trained);
  return describeModel(current());
}

/** What a model is and what it will take, from its headers alone. */
const inspect = ({ source }: { source: FoundModel; attempt: number }, { signal }: Running) =>
  inspectSource(source, signal);

/** The tokens of a text. */
async function tokens({ text }: { text: string }) {
  const { words } = current();
  return idsOf(text).map((id) => ({ id, label: labelOf(id), isSpecial: words?.isSpecial(id) ?? false }));
}

/** The most likely tokens after a position. */
async function next(
  { text, edits, position, k }: TextArgs & { position: number; k: number },
  { signal }: Running,
): Promise<Likely[]> {
  using result = await current().model.forward(idsOf(text), { edits, logits: [position], signal });
  return likelyTokens(await result.logits.at(0, position), k);
}

function likelyTokens(logits: Float32Array, k: number, label = labelOf): Likely[] {
  const logProbs = logSoftmax(logits);
  return likeliest(logProbs, k).map((id) => ({
    id,
    label: label(id),
    logit: logits[id] as number,
    probability: Math.exp(logProbs[id] as number),
  }));
}

/** Continues a text; each step's progress has the text so far as its part. */
async function generate(
  {
    text,
    edits,
    options,
  }: TextArgs & {
    run: number;
    options: Pick<
      GenerateOptions,
      "maxNewTokens" | "temperature" | "topK" | "topP" | "minP" | "repetitionPenalty" | "seed"
    >;
  },
  { signal, onProgress }: Running,
) {
  const { model } = current();
  const total = options.maxNewTokens ?? 40;
  const ids: number[] = [];
  let written = "";
  for await (const { step, tokens: chosen, text: piece } of model.generate(idsOf(text), {
    ...options,
    edits: [...edits],
    maxNewTokens: total,
    signal,
  })) {
    if (chosen[0] !== undefined) ids.push(chosen[0]);
    written = model.tokenizer ? written + piece : ids.map(labelOf).join("");
    onProgress({ done: step + 1, total, part: written });
  }
  return written;
}

/** The logit lens: for each depth and position the most likely tokens and, if asked for, KL(last depth || this one) in nats. */
async function lens({ text, edits, k, kl }: TextArgs & { k: number; kl: boolean }, { signal }: Running) {
  const { model } = current();
  const ids = idsOf(text);
  const topK = Math.min(k, model.spec.vocabSize);
  return model.withEdits([...edits], async (edited) => {
    using found = await logitLens(edited, ids, { topK, full: kl, signal });
    const rows = found.labels.map((label) => ids.map((_, position) => likelyAt(found.at(label, position))));
    const far = found.full && divergences(await found.full.read(), found.labels.length * ids.length, ids.length);
    return { depths: found.labels, tokens: ids.map(labelOf), rows, kl: far };
  });
}

const likelyAt = (places: readonly LensToken[]): Likely[] =>
  places.map(({ token, probability, logit }) => ({ id: token, label: labelOf(token), probability, logit }));

/** KL of each row's distribution from that of its position in the last rows. */
function divergences(logits: Float32Array, rows: number, positions: number): number[] {
  const vocab = logits.length / rows;
  const logProbs = Array.from({ length: rows }, (_, row) =>
    logSoftmax(logits.subarray(row * vocab, (row + 1) * vocab)),
  );
  return logProbs.map((row, index) => {
    const end = logProbs[rows - positions + (index % positions)] as Float64Array;
    return end.reduce((sum, logProb, token) => sum + Math.exp(logProb) * (logProb - (row[token] as number)), 0);
  });
}

/** What is shown of attention: the weights, the scores before the softmax, or weights times the lengths of the values. */
export type AttentionKind = "pattern" | "attn_scores" | "value_weighted";

/** Attention of one layer, [head, query, key]. */
async function attention(
  { text, edits, layer, kind }: TextArgs & { layer: number; kind: AttentionKind },
  { signal }: Running,
) {
  const { model } = current();
  const ids = idsOf(text);
  const point = (name: string) => `blocks.${layer}.attn.hook_${name}`;
  const isWeighted = kind === "value_weighted";
  const capture = isWeighted ? [point("pattern"), point("v")] : point(kind);
  using run = await model.forward(ids, { edits, logits: "none", capture, signal });
  const values = await run.cache.read(point(isWeighted ? "pattern" : kind));
  const { nHeads } = model.spec;
  const [nKvHeads, dValue] = [nKvHeadsOf(model.spec, layer), dValueOf(model.spec, layer)];
  if (isWeighted)
    weigh(values, lengthsOf(await run.cache.read(point("v")), dValue), { nHeads, nKvHeads, keys: ids.length });
  return { tokens: ids.map(labelOf), nHeads, values };
}

/** Euclidean lengths of vectors of a width. */
const lengthsOf = (values: Float32Array, width: number): Float32Array =>
  Float32Array.from({ length: values.length / width }, (_, index) =>
    Math.hypot(...values.subarray(index * width, (index + 1) * width)),
  );

/** Multiplies each weight of [head, query, key] by its value's length, of [key, kvHead], and divides by the largest length of the head. */
function weigh(
  weights: Float32Array,
  lengths: Float32Array,
  { nHeads, nKvHeads, keys }: { nHeads: number; nKvHeads: number; keys: number },
): void {
  const lengthOf = (head: number, key: number) =>
    lengths[key * nKvHeads + Math.floor((head * nKvHeads) / nHeads)] as number;
  for (let head = 0; head < nHeads; head++) {
    const longest = Math.max(...Array.from({ length: keys }, (_, key) => lengthOf(head, key))) || 1; // or all are 0
    for (let place = 0; place < keys * keys; place++)
      (weights[head * keys * keys + place] as number) *= lengthOf(head, place % keys) / longest;
  }
}

/** Numbers by which heads are sorted, each [layer, head]. */
async function heads({ text, edits }: TextArgs, { signal }: Running) {
  const { model } = current();
  const ids = idsOf(text);
  return model.withEdits([...edits], async (edited) => {
    const { mean } = await attentionSummary(edited, [ids], { signal });
    const [previous, induction] = [
      await headScores(edited, [ids], "previous", { signal }),
      await headScores(edited, [ids], "induction", { signal }),
    ];
    return {
      entropy: mean.entropy,
      first: mean.first,
      previous: previous.values,
      induction: induction.values,
    };
  });
}

/** Activation patching, layer by layer; the rows that are done are the progress's part. */
const patch = (args: PatchArgs, running: Running): Promise<GridPart> => patchByLayer(args, running);

/** The same by attribution: one backward pass. */
async function attribution({ clean, corrupted, at, metric: choice, edits }: PatchArgs) {
  return current().model.withEdits([...edits], async (edited) => {
    const ids = idsOf(clean);
    const grid = await attributionPatch(edited, {
      clean: ids,
      corrupted: idsOf(corrupted),
      at,
      metric: metricOf(choice),
    });
    return {
      at,
      columns: columnsOf(grid, ids),
      values: grid.toJSON().values,
      clean: grid.clean,
      corrupted: grid.corrupted,
    };
  });
}

/** Each component's part in a logit or a logit difference. */
async function contributions({
  text,
  edits,
  metric: choice,
  by,
}: TextArgs & { metric: MetricChoice; by: "component" | "head" }) {
  return current().model.withEdits([...edits], async (edited) => {
    const { answer, other } = choice;
    const tokensOf = [answer, ...(other === undefined ? [] : [other])];
    const parts = await directLogitAttribution(edited, idsOf(text), {
      tokens: tokensOf as [number] | [number, number],
      by,
    });
    return { labels: parts.labels, values: Array.from(parts.values), total: parts.total[0] as number };
  });
}

/** What a trained model of the page says after the same prompt. It is loaded for this question alone. */
async function beside({ address, text, k }: { address: string; text: string; k: number }): Promise<Likely[]> {
  const { model, encode, label } = await openBeside(addressOf(address));
  using result = await model.forward(encode(text), { logits: "last" });
  return likelyTokens(await result.logits.at(0, -1), k, label);
}

/** Trains a preset; the state so far is the progress's part. Loaded when it is first asked for, as the tasks' words are. */
async function train(args: TrainArgs, running: Running): Promise<TrainingState> {
  return (await import("./training.ts")).train(args, running);
}

/** Measures a model on this GPU; the progress says what runs. */
async function bench(args: BenchArgs, running: Running) {
  return (await import("./benchmark.ts")).bench(args, running);
}

/** Reports of the benchmark as tables and plots. */
async function showBench(args: { reports: readonly Report[] }) {
  return (await import("./benchmark.ts")).show(args);
}

/** What the last training left, as files. */
async function trained(_args: object) {
  return (await import("./training.ts")).trainedFiles();
}

/** Activations of the points that match, as a safetensors file. */
async function activations({ text, edits, points }: TextArgs & { points: string }, { signal }: Running): Promise<Blob> {
  using run = await current().model.forward(idsOf(text), { edits, logits: "none", capture: points, signal });
  return new Blob([(await run.cache.save()) as BlobPart]);
}

export const CALLS = {
  bench,
  showBench,
  beside,
  activations,
  figure,
  train,
  trained,
  adapter,
  load: loadModel,
  inspect,
  tokens,
  next,
  generate,
  lens,
  attention,
  heads,
  patch,
  attribution,
  contributions,
  superposition,
};

/** The calls, as the page's client sees them. */
export type Calls = typeof CALLS;
