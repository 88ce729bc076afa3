/** A model as an ordinary folder, which `loadModel` and transformers load: `config.json` and `model.safetensors` in float32. */
import { type LazyTensorEntry, streamSafetensors } from "../checkpoint/index.ts";
import { type FileStore, STORE, storeOf, writeText } from "../checkpoint/store.ts";
import { MODEL } from "../hooks/call.ts";
import type { HookedModel } from "../hooks/index.ts";
import { MODEL_SOURCE, type ModelSource, resolveSource } from "../model/load.ts";
import { LONG_CALL_FIELDS, type LongCallOptions, reportProgress } from "../model/long-call.ts";
import { weightsInMemory } from "../model/weights/tensors.ts";
import * as s from "../schema/schema.ts";
import { tensorEntries } from "./checkpoint.ts";

/** Options of `saveModel`. */
export interface SaveOptions extends LongCallOptions {
  /** The model that this one was trained from: its tokenizer's files are copied. */
  tokenizerFrom?: ModelSource;
}

export const SAVE_OPTIONS = s.object<SaveOptions>("the options of saveModel", {
  tokenizerFrom: MODEL_SOURCE,
  ...LONG_CALL_FIELDS,
});

/** What tokenizers are kept in, ours and those of transformers, and what generation begins from. */
const TOKENIZER_FILES = [
  "tokenizer.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
  "vocab.json",
  "merges.txt",
  "tokenizer.model",
  "chat_template.jinja",
  "generation_config.json",
];

/** Fields in which transformers keeps the type of the weights. */
const DTYPE_FIELDS = ["torch_dtype", "dtype"];

/**
 * Writes the model's weights as they are now, in float32, beside its `config.json`. Tensors have the names and shapes of the
 * checkpoint it was loaded from; those that the model leaves out are not there.
 * @throws CheckpointError `checkpoint/write`; InputError `input/model-destroyed`
 */
export async function saveModel(model: HookedModel, to: string | FileStore, options: SaveOptions = {}): Promise<void> {
  s.readArgument(MODEL, model, "saveModel", "model");
  const store = storeOf(s.readArgument(STORE, to, "saveModel", "to"));
  const { tokenizerFrom, ...following } = s.readOptions(SAVE_OPTIONS, options, "saveModel");
  const { gpu, engine, config } = model;
  engine.assertAlive();
  following.signal?.throwIfAborted();
  const entries = followed(tensorEntries(gpu, engine.weights, weightsInMemory(engine.weights)), following);
  if (tokenizerFrom !== undefined) await copyFiles(tokenizerFrom as ModelSource, store);
  const { quantization_config: _, ...kept } = config; // the weights are numbers now
  const named = Object.fromEntries(
    Object.entries(kept).map(([key, value]) => [key, DTYPE_FIELDS.includes(key) ? "float32" : value]),
  );
  await writeText(store, "config.json", `${JSON.stringify(named, null, 2)}\n`);
  await store.write("model.safetensors", streamSafetensors(entries, { format: "pt" }));
  await reportProgress(following, entries.length, entries.length);
}

/** The same tensors; when one is read, those that were read before it count as written. */
function followed(entries: readonly LazyTensorEntry[], following: s.Read<LongCallOptions>): LazyTensorEntry[] {
  let done = 0;
  return entries.map((entry) => ({
    ...entry,
    data: async () => {
      await reportProgress(following, done++, entries.length);
      return typeof entry.data === "function" ? entry.data() : entry.data;
    },
  }));
}

async function copyFiles(from: ModelSource, store: FileStore): Promise<void> {
  const { source } = await resolveSource(from, {});
  try {
    for (const file of TOKENIZER_FILES)
      if (await source.exists(file)) await store.write(file, [await source.readAll(file)]);
  } finally {
    await source.close?.();
  }
}
