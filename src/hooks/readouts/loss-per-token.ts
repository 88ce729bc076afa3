/**
 * How surprised the model is by each token of a text: the cross entropy -log p(token | tokens before), in nats. What
 * TransformerLens gives for `return_type="loss", loss_per_token=True`. Only one number a token is read back.
 */
import { InputError } from "../../errors.ts";
import { assertCausal } from "../../model/causality.ts";
import {
  ENCODE_FIELDS,
  type EncodeInputOptions,
  isBatch,
  type SequenceInput,
  TOKEN_INPUT,
  type TokenInput,
  toIds,
} from "../../model/input.ts";
import type { PerSequence } from "../../model/loaded-model.ts";
import { type Entry, recordLogProbs } from "../../model/log-probs.ts";
import * as s from "../../schema/schema.ts";
import { readCall } from "../call.ts";
import { EDITS, type Edit } from "../edit.ts";
import type { HookedModel } from "../hooked-model.ts";

/** Options of `lossPerToken`. */
export interface LossPerTokenOptions extends EncodeInputOptions {
  /** Edits of the pass. */
  edits?: Edit | readonly Edit[];
  /** Ends the call with `signal.reason`. */
  signal?: AbortSignal;
}

export const LOSS_PER_TOKEN_OPTIONS = s.object<LossPerTokenOptions>("the options of lossPerToken", {
  ...ENCODE_FIELDS,
  edits: EDITS,
  signal: s.signal,
});

/**
 * The loss of each token after the first, given those before it: for one sequence a list [pos - 1], whose entry p is about the
 * token at p + 1; for a batch a list of such lists.
 * @throws InputError `input/too-short` for a sequence of one token; what `forward` throws.
 */
export async function lossPerToken<T extends TokenInput>(
  model: HookedModel,
  input: T,
  given: LossPerTokenOptions = {},
): Promise<PerSequence<T, Float32Array>> {
  const { addBos, edits, signal } = readCall("lossPerToken", model, LOSS_PER_TOKEN_OPTIONS, given);
  const read: TokenInput = s.readArgument(TOKEN_INPUT, input, "lossPerToken", "input");
  assertCausal(model.spec, "The loss of each token");
  const ids = toIds(read, model, { addBos });
  const short = ids.findIndex((list) => list.length < 2);
  if (short >= 0)
    throw new InputError(
      "input/too-short",
      `Sequence ${short} has one token, and nothing predicts the first. Give at least two tokens.`,
    );
  using result = await model.forward(ids as readonly SequenceInput[], { edits, signal });
  const { logits } = result;
  const entries = ids.flatMap((list, sequence) => {
    const first = logits.rowOf(sequence, 0);
    return list.slice(1).map((token, position): Entry => [first + position, token]);
  });
  const readback = await model.engine.record("loss per token", (recorder) =>
    recorder.readback(recordLogProbs(recorder, logits.tensor, entries)),
  );
  const losses = new Float32Array(readback.bytes).map((logProb) => -logProb);
  let start = 0;
  const lists = ids.map(({ length }) => {
    const from = start;
    start += length - 1;
    return losses.slice(from, start);
  });
  return (isBatch(read) ? lists : lists[0]) as PerSequence<T, Float32Array>;
}
