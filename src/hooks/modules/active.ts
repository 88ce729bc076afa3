/**
 * The active features of a pass, as lists: the activations are compacted on the GPU, so that what is read back is 8 bytes for each
 * active feature and 4 for each position, whatever the dictionary's size.
 */

import { HookError } from "../../errors.ts";
import { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { compactActive, countActive } from "../../kernels/dictionary.ts";
import { TOKEN_INPUT, type TokenInput, toIds } from "../../model/input.ts";
import { ABORT_FIELDS, type AbortOptions } from "../../model/long-call.ts";
import * as s from "../../schema/schema.ts";
import { MODEL } from "../call.ts";
import { captureAlone } from "../capture.ts";
import type { HookedModel } from "../hooked-model.ts";
import { Dictionary } from "./dictionary.ts";

/** The features of one position that are active. */
export interface ActiveFeatures {
  /** The point that the dictionary reads. */
  readonly hook: string;
  readonly batch: number;
  /** As in the prompt. */
  readonly position: number;
  /** In rising order, or by falling activation from `topFeatures`. */
  readonly features: Uint32Array;
  /** Their activations. */
  readonly activations: Float32Array;
}

/** Options of `topFeatures`. */
export interface TopFeaturesOptions extends AbortOptions {
  /** Features of a position at most. Default 10. */
  count?: number;
}

export const TOP_FEATURES_OPTIONS = s.object<TopFeaturesOptions>("the options of topFeatures", {
  count: s.wholeFrom(1),
  ...ABORT_FIELDS,
});

export const DICTIONARY = s.instance("a dictionary that loadDictionary() gave", Dictionary);

/**
 * The strongest features at each position of a prompt, or of several.
 *
 *     const [{ features, activations }] = await topFeatures(model, sae, "The Eiffel Tower", { count: 5 });
 *
 * @throws InputError, HookError and GpuError as `forward`; HookError `hook/unsupported` for a view that has dictionaries already
 */
export async function topFeatures(
  model: HookedModel,
  dictionary: Dictionary,
  input: TokenInput,
  options: TopFeaturesOptions = {},
): Promise<ActiveFeatures[]> {
  s.readArgument(MODEL, model, "topFeatures", "model");
  s.readArgument(DICTIONARY, dictionary, "topFeatures", "dictionary");
  const given = s.readArgument(TOKEN_INPUT, input, "topFeatures", "input");
  const { count = 10, signal } = s.readOptions(TOP_FEATURES_OPTIONS, options, "topFeatures");
  const all = await activeFeatures(model, dictionary, toIds(given, model), signal);
  return all.map((place) => {
    const order = [...place.features.keys()].sort(
      (a, b) => (place.activations[b] as number) - (place.activations[a] as number) || a - b,
    );
    const kept = order.slice(0, count);
    return {
      ...place,
      features: Uint32Array.from(kept, (index) => place.features[index] as number),
      activations: Float32Array.from(kept, (index) => place.activations[index] as number),
    };
  });
}

/** Every active feature of every position, by hook, batch entry and position. */
export async function activeFeatures(
  model: HookedModel,
  dictionary: Dictionary,
  ids: readonly (readonly number[])[],
  signal?: AbortSignal,
): Promise<ActiveFeatures[]> {
  if (model.spec.modules)
    throw new HookError(
      "hook/unsupported",
      "This view has dictionaries spliced in already. Give the model itself and the dictionary.",
    );
  using spliced = model.withModules(dictionary);
  const points = dictionary.modules.map(({ hookIn }) => `${hookIn}.hook_sae_acts_post`);
  using result = await captureAlone(spliced, ids, points, { signal });
  const longest = Math.max(...ids.map(({ length }) => length));
  const found: ActiveFeatures[] = [];
  for (const [index, { hookIn: hook, dSae }] of dictionary.modules.entries()) {
    const acts = result.cache.tensor(points[index] as string);
    const { starts, pairs } = await listed(acts, ids.length * longest, dSae, signal);
    const values = new Float32Array(pairs.buffer);
    for (const [batch, list] of ids.entries()) {
      for (let position = 0; position < list.length; position++) {
        const [first, end] = [0, 1].map((next) => starts[batch * longest + position + next] as number) as [
          number,
          number,
        ];
        const entries = Array.from({ length: end - first }, (_, at) => 2 * (first + at));
        const features = Uint32Array.from(entries, (at) => pairs[at] as number);
        found.push({
          hook,
          batch,
          position,
          features,
          activations: Float32Array.from(entries, (at) => values[at + 1] as number),
        });
      }
    }
  }
  return found;
}

/** (feature, bits of the activation) of each row's active features, and where each row's begin. */
async function listed(
  acts: Tensor,
  rows: number,
  width: number,
  signal: AbortSignal | undefined,
): Promise<{ starts: Uint32Array; pairs: Uint32Array }> {
  const gpu = acts.gpu as HookedModel["gpu"];
  using counts = gpu.tensor([rows], "active features of each row", "u32");
  await Recorder.run(gpu, "count active features", (recorder) => countActive(recorder, acts, rows, width, counts), {
    signal,
  });
  const starts = new Uint32Array(rows + 1);
  (await counts.readU32()).forEach((count, row) => {
    starts[row + 1] = (starts[row] as number) + count;
  });
  const total = starts[rows] as number;
  if (total === 0) return { starts, pairs: new Uint32Array(0) };
  using placed = gpu.tensorFrom(starts.subarray(0, rows), [rows], "starts of active features");
  using pairs = gpu.tensor([total, 2], "active features", "u32");
  await Recorder.run(
    gpu,
    "list active features",
    (recorder) => compactActive(recorder, acts, rows, width, placed, pairs),
    { signal },
  );
  return { starts, pairs: await pairs.readU32() };
}
