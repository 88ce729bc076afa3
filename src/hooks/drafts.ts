/** Several continuations of a prompt at once: superposed decoding and beam search, for the models that users hold. */
import { HookError } from "../errors.ts";
import { BEAM_OPTIONS, beamSearch as search } from "../model/drafts/beam.ts";
import type { DraftOptions, Drafts } from "../model/drafts/drafts.ts";
import { superposedDecode as decode, SUPERPOSED_OPTIONS, type SuperposedOptions } from "../model/drafts/superposed.ts";
import { TOKEN_INPUT, type TokenInput } from "../model/input.ts";
import * as s from "../schema/schema.ts";
import { readCall } from "./call.ts";
import type { HookedModel } from "./hooked-model.ts";

/**
 * Drafts for the passes of one sequence, whatever their number: Shen et al. 2024, arXiv 2405.18400. One entry a prompt.
 *
 *     const [{ drafts }] = await superposedDecode(model, "Once upon a", { drafts: 3, maxNewTokens: 10 });
 *
 * All drafts share one distribution a step, which cannot say which token belongs to which draft. So nonsense is among them; `ngrams`
 * sorts some of it out.
 * @throws InputError for a bad setting or prompt, `input/too-long`; HookError `hook/unsupported` in a `withEdits` scope
 */
export async function superposedDecode(
  model: HookedModel,
  input: TokenInput,
  options: SuperposedOptions,
): Promise<Drafts[]> {
  const read = readCall("superposedDecode", model, SUPERPOSED_OPTIONS, options);
  return decode(
    plain(model, "superposedDecode"),
    s.readArgument(TOKEN_INPUT, input, "superposedDecode", "input"),
    read,
  );
}

/**
 * The drafts that beam search finds, with their log probabilities as scores. A step takes a row a draft. One entry a prompt.
 * @throws InputError, HookError as `superposedDecode`
 */
export async function beamSearch(model: HookedModel, input: TokenInput, options: DraftOptions): Promise<Drafts[]> {
  const read = readCall("beamSearch", model, BEAM_OPTIONS, options);
  return search(plain(model, "beamSearch"), s.readArgument(TOKEN_INPUT, input, "beamSearch", "input"), read);
}

function plain(model: HookedModel, call: string) {
  model.assertOpen();
  if (model.standing.length === 0) return model.base;
  throw new HookError(
    "hook/unsupported",
    `${call} does not apply the edits of withEdits(). Use the model without them.`,
  );
}
