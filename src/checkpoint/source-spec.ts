/**
 * What people type to name a model: a folder, a URL or a Hub repository, or one `.safetensors` or `.gguf` file in it.
 *
 * Folders need a file system, and a browser bundle must not contain one. So this module knows only how to ask: the
 * Node and Deno entry registers what opens a folder, and what the Hub should use for a cache on that host.
 */
import { CheckpointError } from "../errors.ts";
import * as s from "../schema/schema.ts";
import { openBrowserCache } from "./cache-opfs.ts";
import { decodePart } from "./http.ts";
import type { CheckpointSource } from "./source.ts";
import { HUB_SOURCE_OPTIONS, type HubModel, HubSource, type HubSourceOptions } from "./source-hub.ts";
import { URL_SOURCE_OPTIONS, UrlSource, type UrlSourceOptions } from "./source-url.ts";

/** What a source's text means. `file` is set when the text names a single file instead of its folder. */
export type SourceSpec =
  | { kind: "folder"; path: string; file?: string }
  | { kind: "url"; prefix: string; file?: string }
  | ({ kind: "hub"; file?: string } & HubModel);

/** Options for whichever source the text turns out to name. */
export interface OpenSourceOptions {
  url?: UrlSourceOptions;
  hub?: HubSourceOptions;
}

const OPEN_SOURCE_OPTIONS = s.object<OpenSourceOptions>("the options of openSource", {
  url: URL_SOURCE_OPTIONS,
  hub: HUB_SOURCE_OPTIONS,
});

/** A source, and the file in it that was asked for by name, if one was (see `CheckpointOptions.file`). */
export interface OpenedSource {
  source: CheckpointSource;
  file?: string;
}

const SCHEME = /^[a-z][a-z0-9+.-]+:/i;
const HUB = /^hf:([\w-][\w.-]*\/[\w-][\w.-]*)(?:\/([^@\s]+\.(?:gguf|safetensors(?:\.index\.json)?)))?(?:@([^@\s]+))?$/;
const HUB_ADDRESS = /^(?:https?:\/\/)?(?:www\.)?(?:huggingface\.co|hf\.co)\/+([^?#]*[^/?#])/i;
/** Of a model, a revision of it, or a file there. */
const HUB_PATH = /^([\w-][\w.-]*\/[\w-][\w.-]*)(?:\/(?:tree|blob|resolve|raw)\/([^/]+)(?:\/(.+))?)?$/;
const WEIGHT_FILE = /[^/\\]+\.(?:safetensors(?:\.index\.json)?|gguf)$/;

/**
 * Reads `hf:owner/name[/file][@revision]` (or the address of the model, or of a weight file of it, on the Hub), `https://…`, or a path.
 * @throws CheckpointError `checkpoint/bad-source` for an empty text, another scheme, or a malformed Hub name
 */
export function parseSourceSpec(text: string): SourceSpec {
  s.readArgument(s.text, text, "parseSourceSpec", "text");
  const hub = HUB.exec(text);
  const address = HUB_ADDRESS.exec(text)?.[1];
  if (address !== undefined) return parseHubPath(address, text);
  if (hub !== null) {
    const [, repo = "", file, revision] = hub;
    return { kind: "hub", repo, ...(revision && { revision }), ...(file && { file }) };
  }
  if (/^https?:\/\//i.test(text)) return parseUrlSpec(text);
  // A single letter before the colon is a drive.
  if (text.trim() === "" || (SCHEME.test(text) && !/^[a-z]:/i.test(text))) {
    throw new CheckpointError(
      "checkpoint/bad-source",
      `${JSON.stringify(text)} does not name a model. Give a folder, an http(s):// URL or hf:owner/name[@revision].`,
    );
  }
  const file = WEIGHT_FILE.exec(text)?.[0];
  return file === undefined
    ? { kind: "folder", path: text }
    : { kind: "folder", path: text.slice(0, -file.length) || ".", file };
}

function parseHubPath(path: string, address: string): SourceSpec {
  const [, repo, revision, file] = HUB_PATH.exec(path)?.map((part) => part && decodePart(part, path)) ?? [];
  if (repo === undefined || /^(datasets|spaces|collections)\//.test(repo) || (file && !WEIGHT_FILE.test(file))) {
    throw new CheckpointError(
      "checkpoint/bad-source",
      `${address} is an address of the Hugging Face Hub, but names neither a model (owner/name) nor its .safetensors or .gguf file. Give ` +
        "https://huggingface.co/owner/name, https://huggingface.co/owner/name/blob/main/model.safetensors or hf:owner/name[@revision].",
    );
  }
  return { kind: "hub", repo, ...(revision && { revision }), ...(file && { file }) };
}

function parseUrlSpec(text: string): SourceSpec {
  const pathEnd = text.search(/[?#]/);
  const [path, query] = pathEnd < 0 ? [text, ""] : [text.slice(0, pathEnd), text.slice(pathEnd)];
  const file = WEIGHT_FILE.exec(path)?.[0];
  if (file === undefined) return { kind: "url", prefix: text };
  return { kind: "url", prefix: path.slice(0, -file.length) + query, file: decodePart(file, file) };
}

let openFolder: ((path: string) => CheckpointSource) | undefined;
let hubDefaults: () => Promise<HubSourceOptions> = async () => ({ cache: await openBrowserCache() });

/** Tells how folders are opened on this host. Called once by the Node and Deno entry. */
export function registerFolderSource(open: (path: string) => CheckpointSource): void {
  openFolder = open;
}

/** Tells the Hub options (cache, address, token) of this host; without it, the browser's storage is the cache. */
export function registerHubDefaults(defaults: () => Promise<HubSourceOptions>): void {
  hubDefaults = defaults;
}

/**
 * Opens what the text names. Nothing is read from a folder or URL yet.
 * @throws CheckpointError `checkpoint/bad-source`, also for a folder on a host without a file system
 */
export async function openSource(text: string, given: OpenSourceOptions = {}): Promise<OpenedSource> {
  const options = s.readOptions(OPEN_SOURCE_OPTIONS, given, "openSource");
  const spec = parseSourceSpec(text);
  if (spec.kind === "url") return { source: new UrlSource(spec.prefix, options.url), file: spec.file };
  if (spec.kind === "hub") {
    return { source: new HubSource(spec, { ...(await hubDefaults()), ...options.hub }), file: spec.file };
  }
  if (openFolder === undefined) {
    throw new CheckpointError(
      "checkpoint/bad-source",
      `${spec.path} would be a folder, which a browser cannot open by name. Use FilesSource with picked files, a URL, ` +
        'or hf:owner/name. On Node and Deno, import "superlens" itself: its entries for them open folders.',
    );
  }
  return { source: openFolder(spec.path), file: spec.file };
}
