/**
 * Where the tuner's choices are kept between runs. The key is the adapter, its driver, the host and the version of the kernels,
 * so a change of any of them makes the benchmarks run again. Node and Deno keep files (`store.node.ts`), a page uses
 * `localStorage`, a worker of a page the Cache API. Where there is none of these, nothing is kept.
 */
import { fnv1a } from "../../fnv1a.ts";
import type { Gpu } from "../../gpu/gpu.ts";
import { attentionText } from "../attention.ts";
import { matmulText } from "../matmul.ts";

/** Names of kernels by class. */
export type Choices = Record<string, string>;

/** Where the tuner's choices are kept between runs, by adapter. */
export interface TuningStore {
  /** Undefined when there is nothing under the key, or nothing that can be read. */
  read(key: string): Promise<Choices | undefined>;
  /** Keeps choices, in the place of those under the key. */
  write(key: string, choices: Choices): Promise<void>;
}

let registered: TuningStore | undefined;

/** Replaces the browser's store. The Node and Deno entries do this once, when they are loaded. */
export function registerTuningStore(store: TuningStore | undefined): void {
  registered = store;
}

/** The store of this host, or undefined where nothing is kept. */
export function tuningStore(): TuningStore | undefined {
  return registered ?? pageStore() ?? workerStore();
}

/** What choices depend on, as text. */
export function tuningKey({ host }: Gpu): string {
  const { vendor, architecture, name, host: hostName } = host.adapterInfo;
  const program = globalThis.navigator?.userAgent ?? "";
  return [vendor, architecture, name, hostName, program, `kernels ${kernelVersion()}`].filter(Boolean).join("; ");
}

let version: string | undefined;

/** A number for the kernels that are timed, from their WGSL: it changes when one of them does. */
function kernelVersion(): string {
  version ??= fnv1a(matmulText() + attentionText()).toString(16);
  return version;
}

/** An entry as it is written down; the key is in it, as names of files are too short for one. */
export function entryText(key: string, choices: Choices): string {
  return JSON.stringify({ key, choices }, null, 2);
}

/** The choices of an entry, or undefined when it is damaged or another key's. */
export function parseEntry(text: string, key: string): Choices | undefined {
  let entry: unknown;
  try {
    entry = JSON.parse(text);
  } catch {
    return undefined;
  }
  const { key: found, choices } = Object(entry) as { key?: unknown; choices?: unknown };
  if (found !== key || typeof choices !== "object" || choices === null) return undefined;
  return Object.values(choices).every((name) => typeof name === "string") ? (choices as Choices) : undefined;
}

const PREFIX = "superlens tuning: ";

/** `localStorage`, which workers have not, and some private windows refuse. */
function pageStore(): TuningStore | undefined {
  if (!("document" in globalThis)) return undefined;
  try {
    const storage = globalThis.localStorage;
    return {
      read: async (key) => parseEntry(storage.getItem(PREFIX + key) ?? "", key),
      write: async (key, choices) => storage.setItem(PREFIX + key, entryText(key, choices)),
    };
  } catch {
    return undefined;
  }
}

const CACHE = "superlens tuning";

/** The Cache API, which workers of pages that are secure have. It keeps answers by address, so a key becomes one. */
function workerStore(): TuningStore | undefined {
  if (!("WorkerGlobalScope" in globalThis && "caches" in globalThis)) return undefined;
  const addressOf = (key: string) => `https://superlens.invalid/${encodeURIComponent(key)}`;
  return {
    read: async (key) => {
      const kept = await (await caches.open(CACHE)).match(addressOf(key)).catch(() => undefined);
      return kept && parseEntry(await kept.text(), key);
    },
    write: async (key, choices) => {
      await (await caches.open(CACHE)).put(addressOf(key), new Response(entryText(key, choices)));
    },
  };
}
