/** A model as an ordinary folder, which `loadModel` and transformers load: `config.json` and `model.safetensors` in float32. */
import {
  type Checkpoint,
  type CheckpointSource,
  type LazyTensorEntry,
  openCheckpoint,
  streamSafetensors,
} from "../checkpoint/index.ts";
import { type FileStore, STORE, storeOf, writeText } from "../checkpoint/store.ts";
import { SuperlensError } from "../errors.ts";
import { warn } from "../gpu/warn.ts";
import { MODEL } from "../hooks/call.ts";
import type { HookedModel } from "../hooks/index.ts";
import { MODEL_SOURCE, type ModelSource, resolveSource } from "../model/load.ts";
import { LONG_CALL_FIELDS, type LongCallOptions, reportProgress } from "../model/long-call.ts";
import type { ModelSpec } from "../model/spec.ts";
import { weightsInMemory } from "../model/weights/tensors.ts";
import * as s from "../schema/schema.ts";
import { gpt2Files } from "../tokenizer/gpt2-files.ts";
import { tensorEntries } from "./checkpoint.ts";

/** Options of `saveModel`. */
export interface SaveOptions extends LongCallOptions {
  /**
   * The model that this one was trained from: its tokenizer's files are copied. Where it has none, they are made of the metadata of its
   * GGUF file, or of the vocabulary of GPT-2 that superlens has.
   */
  tokenizerFrom?: ModelSource;
  /** Called where the tokenizer cannot be saved, with the reason. By default it goes to the console. */
  onNotice?: (message: string) => void;
}

export const SAVE_OPTIONS = s.object<SaveOptions>("the options of saveModel", {
  tokenizerFrom: MODEL_SOURCE,
  onNotice: s.callback,
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
  const { tokenizerFrom, onNotice = warn, ...following } = s.readOptions(SAVE_OPTIONS, options, "saveModel");
  const { gpu, engine, config } = model;
  engine.assertAlive();
  following.signal?.throwIfAborted();
  const entries = followed(tensorEntries(gpu, engine.weights, weightsInMemory(engine.weights)), following);
  if (tokenizerFrom !== undefined) await saveTokenizer(tokenizerFrom as ModelSource, store, engine.spec, onNotice);
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

/** Copies the tokenizer's files; makes those that transformers needs where there are none. */
async function saveTokenizer(
  from: ModelSource,
  store: FileStore,
  spec: ModelSpec,
  onNotice: (message: string) => void,
): Promise<void> {
  const { source, file } = await resolveSource(from, {});
  const copied = await copyFiles(source, store);
  if (copied.has("tokenizer.json")) return source.close?.();
  const inWeights = await filesInWeights(source, file, onNotice);
  const made = inWeights ?? (copied.has("vocab.json") ? {} : await gpt2Files(spec));
  for (const [name, value] of Object.entries(made))
    if (!copied.has(name)) await writeText(store, name, `${JSON.stringify(value)}\n`);
}

/** The names of the files that a source has; on failure the source is closed. */
async function copyFiles(source: CheckpointSource, store: FileStore): Promise<Set<string>> {
  const copied = new Set<string>();
  try {
    for (const name of TOKENIZER_FILES) {
      if (!(await source.exists(name))) continue;
      await store.write(name, [await source.readAll(name)]);
      copied.add(name);
    }
    return copied;
  } catch (error) {
    await source.close?.();
    throw error;
  }
}

const MADE_FILES = ["tokenizer.json", "tokenizer_config.json", "generation_config.json"];

/** The tokenizer in the metadata of a GGUF file; undefined where there is none, and where the reason is a notice. Closes the source. */
async function filesInWeights(
  source: CheckpointSource,
  file: string | undefined,
  onNotice: (message: string) => void,
): Promise<Record<string, unknown> | undefined> {
  let checkpoint: Checkpoint | undefined;
  try {
    checkpoint = await openCheckpoint(source, file === undefined ? {} : { file });
    const files: Record<string, unknown> = {};
    for (const name of MADE_FILES) {
      const value = await checkpoint.readJson(name);
      if (value !== undefined) files[name] = value;
    }
    return files["tokenizer.json"] === undefined ? undefined : withClass(files);
  } catch (error) {
    const code = error instanceof SuperlensError ? error.code : "";
    if (code.startsWith("tokenizer/"))
      onNotice(`the tokenizer is not saved with the model: ${(error as Error).message}`);
    else if (code !== "checkpoint/no-weights") throw error; // a folder may hold a tokenizer alone
    return undefined;
  } finally {
    await checkpoint?.close();
  }
}

/** transformers then takes `tokenizer.json` as it is, where it would make a tokenizer of the family's own otherwise. */
const withClass = (files: Record<string, unknown>) => ({
  ...files,
  "tokenizer_config.json": {
    ...(files["tokenizer_config.json"] as object),
    tokenizer_class: "PreTrainedTokenizerFast",
  },
});
