/**
 * The logit lens (nostalgebraist 2020): what the model would predict if it ended after a block. The final norm and the
 * unembedding are applied to the residual there. All of it runs on the GPU, and only a few tokens for each place are read back.
 */

import { HookError } from "../../errors.ts";
import { type BufferSlice, foldGrid, type Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { copyRows, gather, matmul } from "../../kernels/calls.ts";
import * as kernels from "../../kernels/definitions.ts";
import { packedView } from "../../kernels/view.ts";
import { LONG_CALL_FIELDS, type LongCallOptions, reportProgress } from "../../model/long-call.ts";
import * as s from "../../schema/schema.ts";
import type { HookedModel } from "../hooked-model.ts";
import { metric, recordMetric } from "../metrics.ts";
import { assertPlainResidual } from "../plain-residual.ts";
import { resolvePoint, resolvePoints } from "../points.ts";
import { checkTokens } from "./directions.ts";
import { topK } from "./kernels.ts";
import { normed, repeatScales } from "./norms.ts";
import { type Activations, chosenLayers, type ReadoutSource, readSource, withActivations } from "./source.ts";

/** Options of `logitLens`. */
export interface LogitLensOptions extends LongCallOptions {
  /** Places in depth: l is the residual before block l, nLayers after the last (also -1). All when absent. */
  layers?: s.Indices;
  /** Positions of each sequence, negative from the end; all when absent. */
  positions?: s.Indices;
  /**
   * Which scale the final norm divides by: the `own` (default) of each residual, the usual logit lens, or that of the
   * `run`'s final residual at the position, which makes the lens linear in the residual. Both agree after the last block.
   */
  applyFinalNorm?: "own" | "run";
  /** How many of the most likely tokens to give; default 5. At most 256. */
  topK?: number;
  /** Give these tokens, in this order, in place of the most likely ones. */
  tokens?: s.Indices;
  /** Also keep all logits on the GPU, as `full`. */
  full?: boolean;
}

export const LOGIT_LENS_OPTIONS = s.object<LogitLensOptions>("the options of logitLens", {
  layers: s.indices,
  positions: s.indices,
  applyFinalNorm: s.oneOf("own", "run"),
  topK: s.ranged("a whole number of at least 1"),
  tokens: s.indices,
  full: s.flag,
  ...LONG_CALL_FIELDS,
});

/** A token that a layer of the lens predicts. */
export interface LensToken {
  token: number;
  /** The token's text, when the model has a tokenizer. */
  text: string | undefined;
  logit: number;
  probability: number;
}

/** Logits held at a time, unless all are kept. */
const LOGITS_AT_ONCE = 16 << 20;
/** Pieces are multiples of so many rows, which begin at multiples of 256 bytes whatever the vocabulary. */
const PIECE_ROWS = 64;
const MOST_TOP = 256;

/** The most likely tokens, or chosen ones, after each layer. */
export class LogitLens {
  constructor(
    /** `0_pre`, `1_pre`, …, `final_post`. */
    readonly labels: readonly string[],
    /** For each sequence the positions on the pos axis, ascending. */
    readonly positions: readonly (readonly number[])[],
    /** The axes [layer, batch, pos, k] of `tokens`, `logits` and `logProbs`; padded positions are zero. */
    readonly shape: readonly [number, number, number, number],
    /** Token ids, the most likely first unless tokens were chosen. */
    readonly tokens: Uint32Array,
    /** Scaled and capped as the model's own logits are. */
    readonly logits: Float32Array,
    /** Natural logarithms of the probabilities. */
    readonly logProbs: Float32Array,
    /** All logits [layer, token, vocab], when asked for; tokens sequence after sequence without padding. */
    readonly full: Tensor | undefined,
    private readonly text: (token: number) => string | undefined,
  ) {}

  /**
   * The tokens at one place, in order. The position is one of the sequence, negative from the last read.
   * @throws HookError for a label, batch entry or position the lens does not have.
   */
  at(label: string, position = -1, batch = 0): LensToken[] {
    s.readArgument(s.whole, position, "LogitLens.at", "position");
    s.readArgument(s.whole, batch, "LogitLens.at", "batch");
    const layer = this.labels.indexOf(label);
    const positions = this.positions[batch] ?? [];
    const place = position < 0 ? positions.length + position : positions.indexOf(position);
    if (layer < 0 || place < 0 || place >= positions.length) {
      throw new HookError(
        "hook/no-such-place",
        `The lens has no ${String(label)} at position ${String(position)} of batch entry ${String(batch)}. It has ${this.labels.join(", ")}, and in that entry ${positions.length} positions.`,
      );
    }
    const [, batchSize, width, count] = this.shape;
    const start = ((layer * batchSize + batch) * width + place) * count;
    return Array.from({ length: count }, (_, index) => {
      const token = this.tokens[start + index] as number;
      const probability = Math.exp(this.logProbs[start + index] as number);
      return { token, text: this.text(token), logit: this.logits[start + index] as number, probability };
    });
  }

  /** Frees `full`, if there is one. */
  destroy(): void {
    this.full?.destroy();
  }

  /** The end of a `using` block. */
  [Symbol.dispose](): void {
    this.destroy();
  }
}

/**
 * Reads the residual before each block, and after the last, through the final norm and the unembedding.
 * @throws HookError for layers, positions or tokens that do not exist, or a cache that lacks what is read; `hook/unsupported` in the
 *   scope of an edit of `ln_final.*` or `logits`.
 */
export async function logitLens(
  model: HookedModel,
  from: ReadoutSource,
  given: LogitLensOptions = {},
): Promise<LogitLens> {
  const { source, options } = readSource("logitLens", model, from, LOGIT_LENS_OPTIONS, given);
  assertPlainResidual(model.spec, "logitLens");
  const { spec } = model;
  refuseEditedEnd(model);
  const layers = lensLayers(spec.nLayers, options.layers);
  const count = choiceCount(options, spec.vocabSize);
  const residuals = layers.map((layer) =>
    layer === spec.nLayers ? `blocks.${layer - 1}.hook_resid_post` : `blocks.${layer}.hook_resid_pre`,
  );
  const scale =
    options.applyFinalNorm === "run" && spec.norm.kind !== "none"
      ? resolvePoint(spec, "ln_final.hook_scale").name
      : undefined;
  const points = [...residuals, ...(scale ? [scale] : [])];
  const labels = layers.map((layer) => (layer === spec.nLayers ? "final_post" : `${layer}_pre`));
  const { positions: chosen, signal } = options;
  return withActivations(model, source, { points: () => points, positions: chosen, signal }, async (activations) => {
    const { batch, width, rows, positions } = activations;
    const shape = [layers.length, batch, width, count] as const;
    const choices = new Choices(shape, options.tokens);
    const places = layers.flatMap((_, layer) => rows.map(({ target }) => layer * batch * width + target));
    using stack = model.gpu.tensor([places.length, spec.dModel], "lens residuals");
    let full: Tensor | undefined;
    try {
      if (options.full) full = model.gpu.tensor([layers.length, rows.length, spec.vocabSize], "lens logits");
      await model.engine.record("lens residuals", (recorder) =>
        recordNormed(recorder, model, activations, residuals, scale, stack),
      );
      await readChoices(model, stack, places, choices, full, options);
      const text = (token: number) => model.tokenizer?.tokenText(token);
      const { tokens, logits, logProbs } = choices;
      return new LogitLens(labels, positions, shape, tokens, logits, logProbs, full, text);
    } catch (error) {
      full?.destroy();
      throw error;
    }
  });
}

/** The lens makes the end of the pass itself, from residuals: edits of that end would not be in it. */
function refuseEditedEnd({ spec, standing }: HookedModel): void {
  const edited = standing.flatMap(({ at }) => resolvePoints(spec, at));
  const point = edited.find(({ name }) => name === "logits" || name.startsWith("ln_final."));
  if (!point) return;
  throw new HookError(
    "hook/unsupported",
    `The lens applies the final norm and the unembedding itself, so that the edit of ${point.name} would not be in it. Leave that edit out, or read the edited logits with forward().`,
  );
}

function lensLayers(nLayers: number, chosen: readonly number[] | undefined): number[] {
  return [...new Set(chosenLayers(chosen, nLayers))];
}

/** @throws HookError for tokens out of range, or a top-k that is none. */
function choiceCount({ tokens, topK }: s.Read<LogitLensOptions>, vocabSize: number): number {
  if (tokens && topK !== undefined) s.refuseIdle("logitLens", "topK", "beside tokens, which are given instead");
  const top = topK ?? 5;
  if (tokens) {
    if (tokens.length === 0)
      throw new HookError("hook/empty-selection", "tokens is empty. Leave it out to take the most likely.");
    checkTokens(tokens, vocabSize);
    return tokens.length;
  }
  const most = Math.min(MOST_TOP, vocabSize);
  if (Number.isInteger(top) && top >= 1 && top <= most) return top;
  throw new HookError("hook/top-k", `topK is ${top}; it must be a whole number from 1 to ${most}.`);
}

/** Fills out [layers * rows, dModel] with what the unembedding is to read. */
function recordNormed(
  recorder: Recorder,
  model: HookedModel,
  activations: Activations,
  residuals: readonly string[],
  scale: string | undefined,
  out: Tensor,
): void {
  const { spec } = model;
  const rows = activations.rows.length;
  const total = residuals.length * rows;
  const stack = recorder.temp(total, spec.dModel);
  const pairs = activations.pairs(recorder, "source", "packed");
  residuals.forEach((point, index) => {
    const target = packedView(stack, spec.dModel, 1, index * rows * spec.dModel);
    gather(recorder, packedView(activations.tensor(point), spec.dModel), target, pairs);
  });
  const scales =
    scale === undefined
      ? undefined
      : repeatScales(recorder, activations.packed(recorder, scale), rows, residuals.length, "blocks");
  const result = normed(recorder, spec, stack, total, model.engine.weights.lnFinal ?? {}, scales);
  copyRows(recorder, result, out, total * spec.dModel);
}

/** The tokens of a lens with their numbers, [layer, batch, pos, k]: the `k` most likely, or those that are `listed`. */
class Choices {
  readonly count: number;
  readonly tokens: Uint32Array;
  readonly logits: Float32Array;
  readonly logProbs: Float32Array;

  constructor(
    shape: readonly number[],
    readonly listed: readonly number[] | undefined,
  ) {
    const length = shape.reduce((product, size) => product * size, 1);
    this.count = shape.at(-1) as number;
    this.tokens = new Uint32Array(length);
    this.logits = new Float32Array(length);
    this.logProbs = new Float32Array(length);
  }

  /** Puts what was read of some rows at their `places`: the listed tokens' logits, or pairs of token and logit. */
  store(places: readonly number[], chosen: ArrayBuffer, normalizers: Float32Array): void {
    const { listed, count } = this;
    const [ids, values] = [new Uint32Array(chosen), new Float32Array(chosen)];
    for (const [row, place] of places.entries()) {
      for (let rank = 0; rank < count; rank++) {
        const from = row * count + rank;
        const to = place * count + rank;
        const logit = (listed ? values[from] : values[2 * from + 1]) as number;
        this.tokens[to] = (listed ? listed[rank] : ids[2 * from]) as number;
        this.logits[to] = logit;
        this.logProbs[to] = logit - (normalizers[2 * row] as number) - (normalizers[2 * row + 1] as number);
      }
    }
  }
}

/** Unembeds the rows in pieces and reads the chosen tokens of each. */
async function readChoices(
  model: HookedModel,
  normed: Tensor,
  places: readonly number[],
  choices: Choices,
  full: Tensor | undefined,
  options: s.Read<LongCallOptions>,
): Promise<void> {
  const { vocabSize } = model.spec;
  const { W_U, b_U } = model.engine.weights;
  const atOnce = Math.min(LOGITS_AT_ONCE, model.gpu.limits.maxStorageBufferBindingSize / 4);
  const perPiece = PIECE_ROWS * Math.max(1, Math.floor(atOnce / vocabSize / PIECE_ROWS));
  for (let first = 0; first < places.length; first += perPiece) {
    const rows = Math.min(perPiece, places.length - first);
    const read = await model.engine.record("logit lens", (recorder) => {
      const logits = recorder.temp(rows, vocabSize);
      const { scale, softCap } = model.spec.unembed;
      matmul(recorder, normed, rows, W_U, logits, { bias: b_U, scale, softCap, rowStart: first * W_U.width });
      if (full) copyRows(recorder, logits, piece(full, first * vocabSize, rows * vocabSize), rows * vocabSize);
      return recordChoices(recorder, logits, rows, choices);
    });
    choices.store(places.slice(first, first + rows), read.chosen.bytes, new Float32Array(read.normalizers.bytes));
    await reportProgress(options, first + rows, places.length);
  }
}

function piece({ buffer }: Tensor, start: number, length: number): BufferSlice {
  return { buffer, offset: 4 * start, size: 4 * length };
}

/** The normalizers of each row, and the listed tokens' logits [rows, k] or the most likely tokens [rows, k, (id, logit)]. */
function recordChoices(recorder: Recorder, logits: Tensor, rows: number, { listed, count }: Choices) {
  const vocab = logits.shape[1] as number;
  const normalizers = recorder.temp(rows, 2);
  recorder.dispatch(kernels.LOG_SUM_EXP, {
    params: { rowCount: rows, firstRow: 0, vocab },
    buffers: { logits, out: normalizers },
    workgroups: foldGrid(recorder.gpu, rows),
  });
  const chosen = listed ? logitsOf(recorder, logits, rows, listed) : topK(recorder, logits, rows, vocab, count);
  return { normalizers: recorder.readback(normalizers), chosen: recorder.readback(chosen) };
}

/** A temporary [rows, tokens] of the logits of some tokens. */
function logitsOf(recorder: Recorder, logits: Tensor, rows: number, tokens: readonly number[]): Tensor {
  const outputs = recorder.temp(rows, tokens.length);
  recordMetric(recorder, metric.logits(tokens), {
    ...{ logits, vocab: logits.shape[1] as number, reference: recorder.gpu.zeros, outputs },
    rows: Array.from({ length: rows }, (_, row) => [row, row] as const),
    ...{ outStart: 0, outStride: tokens.length },
  });
  return outputs;
}
