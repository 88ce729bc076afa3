/**
 * The worker's state: one device, and the one model that the page looks at. Loading another ends the first, so that the GPU never
 * holds two. A device that was lost is replaced at the next load.
 */
import type { CheckpointProgress } from "../../checkpoint/index.ts";
import { InputError } from "../../errors.ts";
import { Gpu } from "../../gpu/gpu.ts";
import { type HookedModel, loadModel } from "../../hooks/index.ts";
import { requestGpu } from "../../hosts/request.ts";
import { type LoadOptions, type ModelSource, openModelSource } from "../../model/load.ts";
import { type Blueprint, readBlueprint } from "../../theory/index.ts";
import type { Running } from "../protocol.ts";
import { blueprintWords, tokenizerWords, vocabularyWords, type Words } from "./words.ts";

/** The model that is loaded, and what the page needs beside it. */
export interface Loaded {
  readonly model: HookedModel;
  readonly words: Words | undefined;
  /** What a constructed transformer was built to compute. */
  readonly blueprint: Blueprint | undefined;
  /** Things a person should know, such as tensors that the model leaves out. */
  readonly notices: readonly string[];
}

let device: Promise<Gpu> | undefined;
let loaded: Loaded | undefined;

/** The device, requested when it is first needed. @throws GpuError where there is no WebGPU */
export function gpu(): Promise<Gpu> {
  device ??= requestGpu().then(
    (host) => {
      const made = new Gpu(host);
      made.core.whenLost(forgetDevice);
      return made;
    },
    (error: unknown) => {
      forgetDevice();
      throw error;
    },
  );
  return device;
}

function forgetDevice(): void {
  device = undefined;
  closeBeside();
}

/** @throws InputError `page/no-model` before a model is loaded */
export function current(): Loaded {
  if (loaded) return loaded;
  throw new InputError("page/no-model", "No model is loaded. Choose one in the Model view.");
}

/** The ids of a text. @throws InputError for a model that takes none */
export function idsOf(text: string): number[] {
  const { words, model } = current();
  if (!words)
    throw new InputError(
      "input/no-tokenizer",
      `${model.label} has no tokenizer${model.tokenizerError ? `: ${model.tokenizerError.message}` : ""}. Load a folder with tokenizer.json.`,
    );
  const ids = words.encode(text);
  if (ids.length === 0) throw new InputError("input/empty", "The prompt is empty. Type some text.");
  return ids;
}

/** A token as the page shows it. */
export const labelOf = (id: number): string => current().words?.label(id) ?? `${id}`;

/** Loads a model in place of the one before. */
export async function load(
  source: ModelSource,
  { signal, onProgress }: Running,
  { dtype }: Pick<LoadOptions, "dtype"> = {},
): Promise<Loaded> {
  unload();
  const notices: string[] = [];
  const onNotice = (message: string) => notices.push(message);
  const report = ({ loaded: done, total, tensor }: CheckpointProgress) =>
    onProgress({ done, total, ...(tensor !== undefined && { what: tensor }) });
  const shared = await gpu();
  const model = await loadModel(source, { gpu: shared, signal, onNotice, onProgress: report, ...(dtype && { dtype }) });
  const facts = await factsBeside(model, source, signal).catch((error: unknown) => {
    model.destroy();
    throw error;
  });
  if (signal.aborted) {
    model.destroy();
    throw signal.reason;
  }
  unload(); // another load may have come to its end meanwhile
  loaded = { model, notices, ...facts };
  return loaded;
}

interface Beside {
  readonly model: HookedModel;
  readonly encode: (text: string) => number[];
  readonly label: (id: number) => string;
}

/** The small model that was asked beside the page's last. */
let besides: { readonly address: string; readonly opened: Promise<Beside> } | undefined;

/** A second, small model with a vocabulary of words. It stays for the next question, and ends with the page's model. */
export function openBeside(address: string): Promise<Beside> {
  if (besides?.address === address) return besides.opened;
  closeBeside();
  const mine = { address, opened: readBeside(address) };
  mine.opened.catch(() => {
    if (besides === mine) besides = undefined; // so that it may be tried again
  });
  besides = mine;
  return mine.opened;
}

async function readBeside(source: string): Promise<Beside> {
  const words = await wordsBeside(source);
  const model = await loadModel(source, { gpu: await gpu(), onNotice: () => {} });
  return { model, encode: (text) => words?.encode(text) ?? [], label: (id) => words?.label(id) ?? `${id}` };
}

function closeBeside(): void {
  const ended = besides;
  besides = undefined;
  ended?.opened.then(
    ({ model }) => model.destroy(),
    () => {},
  );
}

export function unload(): void {
  loaded?.model.destroy();
  loaded = undefined;
  closeBeside();
}

/** The words of a model: of its tokenizer, or what stands beside its weights. Only a model without one has its folder read again. */
async function factsBeside(
  model: HookedModel,
  source: ModelSource,
  signal: AbortSignal,
): Promise<Pick<Loaded, "words" | "blueprint">> {
  if (model.tokenizer) return { words: tokenizerWords(model), blueprint: undefined };
  if (model.config.superposition === undefined)
    return { words: await wordsBeside(source, signal), blueprint: undefined };
  const blueprint = await readBlueprint(source, { signal });
  return { words: blueprintWords(blueprint), blueprint };
}

/** The words of the `vocab.json` beside a model, if there is one. */
async function wordsBeside(source: ModelSource, signal?: AbortSignal): Promise<Words | undefined> {
  const checkpoint = await openModelSource(source, { signal, onNotice: () => {} });
  try {
    const vocabulary = await checkpoint.readJson("vocab.json");
    return vocabulary === undefined ? undefined : vocabularyWords(vocabulary as Record<string, number>);
  } finally {
    await checkpoint.close();
  }
}
