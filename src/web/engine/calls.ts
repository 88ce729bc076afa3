/**
 * What the page can ask of the engine. Each call takes plain data and gives plain data, and each is a few lines on the public
 * API: a script that does the same needs no more.
 */

import type { Edit } from "../../hooks/index.ts";
import {
  attentionSummary,
  attributionPatch,
  directLogitAttribution,
  headScores,
  logitLens,
} from "../../hooks/index.ts";
import { adapterLine } from "../../hosts/adapters.ts";
import type { GenerateOptions } from "../../model/generate.ts";
import type { Running } from "../protocol.ts";
import { figure } from "./figures.ts";
import { describeModel, type FoundModel, inspectSource, type SourceChoice, sourceOf } from "./models.ts";
import { columnsOf, type GridPart, type MetricChoice, metricOf, type PatchArgs, patchByLayer } from "./patching.ts";
import { current, gpu, idsOf, labelOf, load, unload } from "./session.ts";
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

/** Which adapter runs, or the error that says why none does. */
async function adapter(_args: object) {
  const { host } = await gpu();
  return { line: adapterLine(host.adapterInfo), isSoftware: host.adapterInfo.isSoftware };
}

/** Loads a model in place of the one before, and says what it is. */
async function loadModel({ source }: { source: SourceChoice; attempt: number }, running: Running) {
  return describeModel("trained" in source ? current() : await load(sourceOf(source), running));
}

/** What a model is and what it will take, from its headers alone. */
const inspect = ({ source }: { source: FoundModel }, { signal }: Running) => inspectSource(source, signal);

async function unloadModel(_args: object) {
  unload();
}

/** The tokens of a text. */
async function tokens({ text }: { text: string }) {
  const { words } = current();
  return idsOf(text).map((id) => ({ id, label: labelOf(id), isSpecial: words?.isSpecial(id) ?? false }));
}

/** The most likely tokens after a position. */
async function next({ text, edits, position, k }: TextArgs & { position: number; k: number }): Promise<Likely[]> {
  using result = await current().model.forward(idsOf(text), { edits, logits: [position] });
  return likeliest(await result.logits.at(0, position), k);
}

function likeliest(logits: Float32Array, k: number): Likely[] {
  const largest = logits.reduce((most, logit) => Math.max(most, logit), Number.NEGATIVE_INFINITY);
  const sum = logits.reduce((total, logit) => total + Math.exp(logit - largest), 0);
  const order = Array.from(logits, (_, id) => id).sort((a, b) => (logits[b] as number) - (logits[a] as number));
  return order.slice(0, k).map((id) => {
    const logit = logits[id] as number;
    return { id, label: labelOf(id), logit, probability: Math.exp(logit - largest) / sum };
  });
}

/** Continues a text; each step's progress has the text so far as its part. */
async function generate(
  {
    text,
    edits,
    options,
  }: TextArgs & {
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

/** The logit lens: for each depth and position the most likely tokens, and how far the distribution is from the last depth's. */
async function lens({ text, edits, k }: TextArgs & { k: number }) {
  const { model } = current();
  const ids = idsOf(text);
  using run = await model.forward(ids, {
    edits,
    logits: "none",
    capture: [
      "blocks.*.hook_resid_pre",
      `blocks.${model.spec.nLayers - 1}.hook_resid_post`,
      "ln_final.hook_scale",
    ].filter((name) => name.includes("*") || model.pointNames().includes(name)),
  });
  const found = await logitLens(model, run.cache, { topK: Math.min(k, model.spec.vocabSize) });
  const rows = found.labels.map((label) =>
    ids.map((_, position) =>
      found
        .at(label, position)
        .map(({ token, probability, logit }) => ({ id: token, label: labelOf(token), probability, logit })),
    ),
  );
  return { depths: found.labels, tokens: ids.map(labelOf), rows };
}

/** Attention patterns of layers, [head, query, key] each, or the scores before the softmax. */
async function attention({
  text,
  edits,
  layers,
  point,
}: TextArgs & { layers: readonly number[]; point: "pattern" | "attn_scores" }) {
  const { model } = current();
  const ids = idsOf(text);
  const names = layers.map((layer) => `blocks.${layer}.attn.hook_${point}`);
  using run = await model.forward(ids, { edits, logits: "none", capture: names });
  const patterns = await Promise.all(names.map((name) => run.cache.read(name)));
  return { tokens: ids.map(labelOf), nHeads: model.spec.nHeads, patterns };
}

/** Numbers by which heads are sorted, each [layer, head]. */
async function heads({ text, edits }: TextArgs) {
  const { model } = current();
  const ids = idsOf(text);
  return model.withEdits([...edits], async (edited) => {
    const { mean } = await attentionSummary(edited, [ids]);
    const [previous, induction] = [
      await headScores(edited, [ids], "previous"),
      await headScores(edited, [ids], "induction"),
    ];
    return {
      entropy: mean.entropy,
      distance: mean.distance,
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

/** Trains a preset; the state so far is the progress's part. Loaded when it is first asked for, as the tasks' words are. */
async function train(args: TrainArgs, running: Running): Promise<TrainingState> {
  return (await import("./training.ts")).train(args, running);
}

/** What the last training left, as files. */
async function trained(_args: object) {
  return (await import("./training.ts")).trainedFiles();
}

/** Activations of the points that match, as a safetensors file. */
async function activations({ text, edits, points }: TextArgs & { points: string }): Promise<Blob> {
  using run = await current().model.forward(idsOf(text), { edits, logits: "none", capture: points });
  return new Blob([(await run.cache.save()) as BlobPart]);
}

export const CALLS = {
  activations,
  figure,
  train,
  trained,
  adapter,
  load: loadModel,
  inspect,
  unload: unloadModel,
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
