/**
 * Where in a text each feature is strongest: sequences stream through the model, and of each feature the best places are kept. Only
 * active features are read back. What was found can be saved, and a later call goes on after the sequences that were done.
 */
import { FilesSource, openCheckpoint, toFloat32, writeSafetensors } from "../../checkpoint/index.ts";
import { CheckpointError, HookError } from "../../errors.ts";
import { LONG_CALL_FIELDS, type LongCallOptions, reportProgress } from "../../model/long-call.ts";
import * as s from "../../schema/schema.ts";
import { MODEL } from "../call.ts";
import type { HookedModel } from "../hooked-model.ts";
import { activeFeatures, DICTIONARY } from "./active.ts";
import type { Dictionary } from "./dictionary.ts";

/** A place of a text where a feature is active. */
export interface ActivePlace {
  readonly activation: number;
  /** Which of the sequences. */
  readonly sequence: number;
  readonly position: number;
}

/** The best places of each feature so far. */
export class MaxActivating {
  constructor(
    /** The point that the dictionary reads. */
    readonly hook: string,
    readonly dSae: number,
    /** Places of each feature. */
    readonly count: number,
    /** [dSae, count], falling; 0 where there is no place yet. */
    readonly activations: Float32Array = new Float32Array(dSae * count),
    /** [dSae, count, (sequence, position)]. */
    readonly places: Uint32Array = new Uint32Array(2 * dSae * count),
    /** Tokens at which each feature was active, [dSae]. */
    readonly frequencies: Uint32Array = new Uint32Array(dSae),
    /** Sequences that were seen. */
    public done = 0,
  ) {}

  /** The best places of a feature, falling. */
  of(feature: number): ActivePlace[] {
    const start = s.readArgument(s.wholeFrom(0), feature, "MaxActivating.of", "feature") * this.count;
    return Array.from({ length: this.count }, (_, index) => ({
      activation: this.activations[start + index] ?? 0,
      sequence: this.places[2 * (start + index)] ?? 0,
      position: this.places[2 * (start + index) + 1] ?? 0,
    })).filter(({ activation }) => activation > 0);
  }

  /** @internal */
  add(feature: number, activation: number, sequence: number, position: number): void {
    this.frequencies[feature] = (this.frequencies[feature] as number) + 1;
    const start = feature * this.count;
    let at = this.count;
    while (at > 0 && activation > (this.activations[start + at - 1] as number)) at -= 1;
    if (at === this.count) return;
    this.activations.copyWithin(start + at + 1, start + at, start + this.count - 1);
    this.places.copyWithin(2 * (start + at + 1), 2 * (start + at), 2 * (start + this.count - 1));
    this.activations[start + at] = activation;
    this.places.set([sequence, position], 2 * (start + at));
  }

  /** The bytes of a safetensors file: `activations`, `places`, `frequencies`. */
  save(): Uint8Array {
    const { hook, dSae, count, done } = this;
    const bytes = (data: Float32Array | Uint32Array) => new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    const tensors = [
      { name: "activations", dtype: "F32", shape: [dSae, count], data: bytes(this.activations) },
      { name: "places", dtype: "U32", shape: [dSae, count, 2], data: bytes(this.places) },
      { name: "frequencies", dtype: "U32", shape: [dSae], data: bytes(this.frequencies) },
    ] as const;
    return writeSafetensors(tensors, { hook, done: String(done) });
  }

  /** What `save` wrote. @throws CheckpointError `module/format` for another file */
  static async load(file: Uint8Array | Blob): Promise<MaxActivating> {
    const blob = file instanceof Blob ? file : new Blob([file as Uint8Array<ArrayBuffer>]);
    const name = "features.safetensors";
    const checkpoint = await openCheckpoint(new FilesSource([{ name, blob }], "the file"), { file: name });
    const { hook, done } = checkpoint.metadata;
    const [dSae, count] = checkpoint.tensors.get("activations")?.shape ?? [];
    if (hook === undefined || done === undefined || dSae === undefined || count === undefined)
      throw new CheckpointError(
        "module/format",
        "This file was not written by MaxActivating.save(). Give one that it wrote.",
      );
    const whole = async (tensor: string) => new Uint32Array((await checkpoint.read(tensor)).slice().buffer);
    const activations = Float32Array.from(toFloat32(await checkpoint.read("activations"), "F32"));
    return new MaxActivating(
      hook,
      dSae,
      count,
      activations,
      await whole("places"),
      await whole("frequencies"),
      Number(done),
    );
  }
}

/** How to look for the best places. */
export interface MaxActivatingOptions extends LongCallOptions {
  /** Places of each feature. Default 10. */
  count?: number;
  /** Sequences of a pass. Default 8. */
  batch?: number;
  /** What an earlier call found, to go on after its sequences. */
  resume?: MaxActivating;
}

export const MAX_ACTIVATING_OPTIONS = s.object<MaxActivatingOptions>("the options of maxActivating", {
  count: s.wholeFrom(1),
  batch: s.wholeFrom(1),
  resume: s.instance("what maxActivating() gave", MaxActivating),
  ...LONG_CALL_FIELDS,
});

/**
 * The places of a text where each feature is strongest. `sequences` are token ids of any lengths; `resume` skips those that are done.
 * After an abort what was found so far is lost, unless `resume` was given: it is added to as the call goes.
 *
 *     const found = await maxActivating(model, sae, sequences, { count: 5 });
 *     found.of(123); // [{ activation, sequence, position }, …]
 *
 * @throws as `forward`; HookError `hook/unsupported` for a dictionary of several blocks, `module/shape` for a `resume` of another
 */
export async function maxActivating(
  model: HookedModel,
  dictionary: Dictionary,
  sequences: readonly s.NumberList[],
  options: MaxActivatingOptions = {},
): Promise<MaxActivating> {
  s.readArgument(MODEL, model, "maxActivating", "model");
  s.readArgument(DICTIONARY, dictionary, "maxActivating", "dictionary");
  const lists = s.readArgument(SEQUENCES, sequences, "maxActivating", "sequences");
  const read = s.readOptions(MAX_ACTIVATING_OPTIONS, options, "maxActivating");
  const { batch = 8, signal } = read;
  if (read.resume && read.count !== undefined)
    s.refuseIdle("maxActivating", "count", "beside resume, which has as many places as it has");
  if (dictionary.modules.length > 1)
    throw new HookError(
      "hook/unsupported",
      "maxActivating is of a dictionary of one block. Load the file of one layer.",
    );
  const found = read.resume ?? new MaxActivating(dictionary.hook, dictionary.dSae, read.count ?? 10);
  if (found.hook !== dictionary.hook || found.dSae !== dictionary.dSae)
    throw new HookError(
      "module/shape",
      `resume is of ${found.dSae} features at ${found.hook}, the dictionary of ${dictionary.dSae} at ${dictionary.hook}. Give what was found with this dictionary.`,
    );
  for (let first = found.done; first < lists.length; first += batch) {
    const ids = lists.slice(first, first + batch);
    for (const { batch: entry, position, features, activations } of await activeFeatures(
      model,
      dictionary,
      ids,
      signal,
    ))
      features.forEach((feature, index) => {
        found.add(feature, activations[index] as number, first + entry, position);
      });
    found.done = first + ids.length;
    await reportProgress(read, found.done, lists.length);
  }
  return found;
}

const SEQUENCES = s.list("lists of token ids", s.list("token ids", s.wholeFrom(0)));
