/**
 * Superposed decoding (Shen et al. 2024, arXiv 2405.18400): k drafts for the passes of one. What the model reads in a step is not
 * a token but the sum of the drafts' newest token embeddings, each times the draft's part of the probability. It answers with one
 * distribution for all. Its k likeliest tokens continue each of the k drafts, and of these k * k the k best are kept.
 *
 * The one distribution cannot say which token belongs to which draft. Counts of n-grams can: with them, a token adds
 *
 *     (1 - alpha) log P_model(token | superposition) + alpha log P_ngrams(token | draft)
 *
 * to a draft's score.
 */
import { InputError } from "../../errors.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { embed, matmul } from "../../kernels/calls.ts";
import { RowTable } from "../../ops/rows.ts";
import * as s from "../../schema/schema.ts";
import type { TokenInput } from "../input.ts";
import type { KvCache } from "../kv-cache.ts";
import type { Runner } from "../runner.ts";
import {
  DRAFT_FIELDS,
  type DraftOptions,
  type DraftReader,
  type Drafts,
  type Growing,
  growDrafts,
  readNext,
} from "./drafts.ts";
import { NgramModel } from "./ngrams.ts";

export interface SuperposedOptions extends DraftOptions {
  /** Counts that tell which token belongs to which draft. */
  ngrams?: NgramModel;
  /** Their part of a score, 0 to 1; 0.54, the authors', unless told. */
  alpha?: number;
}

export const SUPERPOSED_OPTIONS = s.object<SuperposedOptions>("the options of superposedDecode", {
  ...DRAFT_FIELDS,
  ngrams: s.instance("an NgramModel", NgramModel),
  alpha: s.part,
});

/** @throws InputError as `growDrafts`; `input/ngrams` for counts of another vocabulary */
export function superposedDecode(
  model: Runner,
  input: TokenInput,
  options: s.Read<SuperposedOptions>,
): Promise<Drafts[]> {
  const { ngrams, alpha = 0.54 } = options;
  if (!ngrams && options.alpha !== undefined) s.refuseIdle("superposedDecode", "alpha", "without ngrams");
  if (ngrams && ngrams.vocabSize !== model.spec.vocabSize)
    throw new InputError(
      "input/ngrams",
      `The n-grams are of ${ngrams.vocabSize} tokens, the model has ${model.spec.vocabSize}. Count the text in the model's own tokens.`,
    );
  return growDrafts(model, input, options, {
    reader: (kv) => new SuperposedReader(model, kv, options.signal),
    gain: (logProb, before, token) =>
      ngrams ? (1 - alpha) * logProb + alpha * Math.log(ngrams.probability(before, token)) : logProb,
  });
}

class SuperposedReader implements DraftReader {
  constructor(
    private readonly model: Runner,
    /** A sequence a prompt. */
    private readonly kv: KvCache,
    private readonly signal: AbortSignal | undefined,
  ) {}

  async next(live: readonly (readonly Growing[])[]): Promise<Float64Array[][]> {
    const { model, kv, signal } = this;
    const going = live.filter(({ length }) => length > 0);
    using inputsEmbeds = model.gpu.tensor([going.length, model.spec.dModel], "superposed embeddings");
    await model.engine.record("superposition", (recorder) => recordSuperposition(recorder, model, going, inputsEmbeds));
    // The ids stand for the embeddings: a prompt whose drafts have all ended has none.
    const ids = live.map(({ length }) => (length > 0 ? [0] : []));
    const next = await readNext(model, ids, kv, { signal, inputsEmbeds });
    return live.map((list) => {
      const shared = list.length > 0 ? (next.shift() as Float64Array) : undefined;
      return list.map(() => shared as Float64Array);
    });
  }

  rowsFor(live: number): number {
    return Math.min(live, 1);
  }

  destroy(): void {
    this.kv.destroy();
  }
}

/** Each draft's part of the probability that its prompt's drafts have together. */
function partsOf(drafts: readonly Growing[]): number[] {
  const largest = Math.max(...drafts.map(({ score }) => score));
  const parts = drafts.map(({ score }) => Math.exp(score - largest));
  const total = parts.reduce((sum, part) => sum + part, 0);
  return parts.map((part) => part / total);
}

/** out [prompts, dModel] = weights [prompts, drafts] times the embeddings [drafts, dModel] of all drafts' newest tokens. */
function recordSuperposition(
  recorder: Recorder,
  { spec, engine }: Runner,
  live: readonly (readonly Growing[])[],
  out: Tensor,
): void {
  const drafts = live.flat();
  const { dModel } = spec;
  const { W_E, embedProjection } = engine.weights;
  const table = new RowTable(drafts.length);
  drafts.forEach(({ tokens }, row) => {
    table.set(row, 0, 0, 0, tokens.at(-1) as number);
  });
  const weights = new Float32Array(live.length * drafts.length);
  let column = 0;
  for (const [row, list] of live.entries())
    for (const part of partsOf(list)) weights[row * drafts.length + column++] = part;
  // Rows keep the padding of the table, so that they are rows of a matrix.
  const { stride } = W_E;
  const embeddings = recorder.temp(drafts.length, stride);
  const padded = { ...W_E, width: stride };
  embed(recorder, recorder.upload(table.data), drafts.length, padded, embeddings, {
    by: "token",
    scale: spec.embed.scale,
  });
  const outWidth = spec.embed.width ?? dModel;
  const mixed = embedProjection ? recorder.temp(live.length, outWidth) : out;
  const parts = [{ buffer: embeddings.buffer, firstRow: 0, rows: outWidth }];
  matmul(
    recorder,
    recorder.upload(weights),
    live.length,
    { outWidth, width: drafts.length, layout: "conv1d", stride, storage: "f32", parts },
    mixed,
  );
  if (embedProjection) {
    matmul(recorder, mixed, live.length, embedProjection, out);
    recorder.release(mixed);
  }
  recorder.release(embeddings);
}
