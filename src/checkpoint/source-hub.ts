/**
 * A model of the Hugging Face Hub, or of a server that speaks like it. Files are read at `/owner/name/resolve/revision/`,
 * which every mirror has and which the Hub's chunked storage (Xet) answers, too; `remote.ts` says how.
 *
 * With a cache, the first read of a file downloads all of it, and every later run reads the disk after one small
 * request that asks for the ETag (none for a commit hash, which cannot change). Without one, ranges are fetched as
 * they are read. When the Hub cannot be reached, what the cache holds is used, and `onNotice` says so.
 */
import { CheckpointError } from "../errors.ts";
import * as s from "../schema/schema.ts";
import { type BlobCache, type CachedBlob, shortEtag } from "./cache.ts";
import { basicAuth, HTTP_FIELDS, type HttpOptions, mergeHeaders, reasonOf, remedyOf } from "./http.ts";
import { type Dialect, type RemoteFile, RemoteFiles, WHOLE_FILE_BYTES, XET_FILE_INFO } from "./remote.ts";
import { HttpStatusError } from "./retry.ts";
import {
  type CheckpointSource,
  checkFileName,
  checkRange,
  closedError,
  DEFAULT_MAX_BYTES,
  notFound,
  readWhole,
} from "./source.ts";
import { below } from "./source-url.ts";

/** A repository of the Hub: `owner/name` at a branch, tag or commit. */
export interface HubModel {
  repo: string;
  /** `main` unless told. */
  revision?: string;
}

/** Options of `HubSource`. */
export interface HubSourceOptions extends HttpOptions {
  /** Where files are kept; without it every read goes to the network. */
  cache?: BlobCache;
  /** For gated and private models; sent as it is, since other servers than the Hub have tokens of other forms. */
  accessToken?: string;
  /** `https://huggingface.co` unless told; may have a path. */
  hubUrl?: string;
  /** Ask no server: only what the cache holds is read. */
  offline?: boolean;
  /** Called while a file is downloaded into the cache, with bytes, where its length is known. */
  onDownload?: (progress: { file: string; loaded: number; total: number }) => void;
}

export const HUB_SOURCE_OPTIONS = s.object<HubSourceOptions>("the options of HubSource", {
  ...HTTP_FIELDS,
  cache: s.simple<BlobCache>("a cache", (value) => typeof value === "object" && value !== null),
  accessToken: s.text,
  hubUrl: s.text,
  offline: s.flag,
  onDownload: s.callback,
});

const HUB_URL = "https://huggingface.co";
/**
 * Versions of entries without a file. By the Hub's error code the repository has no such file, and a commit will never have
 * it. By the status alone it was not there when asked; a mirror may have it later.
 */
const NO_ENTRY = "no-entry";
const ABSENT = "absent";
/** Version of a file whose server gave none. */
const UNKNOWN = "unknown";
const COMMIT_HASH = /^[0-9a-f]{40}$/;

/** A file in the cache, and whether this process put it there. */
interface CachedFile {
  cached: CachedBlob;
  isNew?: boolean;
}

/** A checkpoint on the Hugging Face Hub. */
export class HubSource implements CheckpointSource {
  readonly label: string;
  readonly #keyPrefix: string;
  readonly #isFixed: boolean;
  readonly #options: HubSourceOptions;
  readonly #remote: RemoteFiles;
  /** What is known of each file: where it lies in the cache, or that it is on the server. */
  readonly #files = new Map<string, Promise<CachedFile | RemoteFile>>();
  readonly #downloads = new Map<string, Promise<CachedFile>>();
  #noticed = false;
  #cacheFailed = false;
  #closed = false;

  /** @throws CheckpointError `checkpoint/bad-token`, `checkpoint/bad-source` for a `hubUrl` that is not http(s) */
  constructor({ repo, revision = "main" }: HubModel, given: HubSourceOptions = {}) {
    const options = s.readOptions(HUB_SOURCE_OPTIONS, given, "HubSource");
    this.label = `hf:${repo}${revision === "main" ? "" : `@${revision}`}`;
    this.#options = options;
    this.#isFixed = COMMIT_HASH.test(revision);
    const hub = parseHubUrl(options.hubUrl ?? HUB_URL);
    const token = parseToken(options.accessToken, this.label);
    // The revision may have slashes ("refs/pr/1"); it is one level, so that revisions cannot lie inside one another.
    const path = `${repo}/resolve/${encodeURIComponent(revision)}/`;
    const folder = new URL(`${hub.href.replace(/\/+$/, "")}/${path}`);
    // The server is one level, too, whatever its path: mirrors of one host are apart.
    const server = `${hub.protocol === "http:" ? "http:" : ""}${hub.host}${hub.pathname.replace(/\/+$/, "")}`;
    this.#keyPrefix = `${encodeURIComponent(server)}/${repo}/${encodeURIComponent(revision)}`;
    const bearer = token && { Authorization: `Bearer ${token}` };
    const headers = mergeHeaders(bearer || {}, basicAuth(hub, this.label), options.headers);
    this.#remote = new RemoteFiles(hubDialect(this.label, folder, token !== undefined), { ...options, headers });
  }

  async exists(file: string): Promise<boolean> {
    try {
      await this.#file(file);
      return true;
    } catch (error) {
      if (error instanceof CheckpointError && error.code === "checkpoint/not-found") return false;
      throw error;
    }
  }

  async size(file: string): Promise<number> {
    const known = await this.#file(file);
    if ("cached" in known) return known.cached.size;
    if (known.size !== undefined) return known.size;
    return (await this.#stored(file, known))?.cached.size ?? this.#remote.size(file);
  }

  async read(file: string, start: number, end: number): Promise<Uint8Array> {
    checkRange(file, start, end, await this.size(file));
    if (start === end) return new Uint8Array(0);
    const known = await this.#file(file);
    const stored = "cached" in known ? known : await this.#stored(file, known);
    return stored ? stored.cached.read(start, end) : this.#remote.read(file, start, end);
  }

  async readAll(file: string, maxBytes = DEFAULT_MAX_BYTES): Promise<Uint8Array> {
    return readWhole(this, file, maxBytes);
  }

  /** Downloads a file again whose copy in the cache is damaged. */
  async renew(file: string): Promise<boolean> {
    const known = await this.#files.get(file);
    // What has just come, length and hash checked, is what the server has.
    if (known === undefined || !("cached" in known) || known.isNew) return false;
    await known.cached.close?.();
    const renewing = this.#renewed(file, known.cached.label);
    this.#files.set(file, renewing);
    renewing.catch(() => this.#files.delete(file));
    await renewing;
    return true;
  }

  async #renewed(file: string, path: string): Promise<CachedFile | RemoteFile> {
    const what = `${this.label}: ${file} is damaged in the cache (${path})`;
    try {
      if (this.#options.offline) throw this.#offline(file);
      const remote = await this.#remote.stat(file);
      this.#options.onNotice?.(`${what}, and is downloaded again.`);
      return (await this.#stored(file, remote)) ?? remote;
    } catch (cause) {
      if (!(cause instanceof CheckpointError)) throw cause;
      const message = `${what}, and could not be downloaded again: ${cause.message} Then load it again, or delete that file.`;
      throw new CheckpointError("checkpoint/damaged-cache", message, { cause });
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#remote.close();
    const files = await Promise.allSettled([...this.#files.values(), ...this.#downloads.values()]);
    this.#files.clear();
    this.#downloads.clear();
    for (const file of files)
      if (file.status === "fulfilled" && "cached" in file.value) await file.value.cached.close?.();
  }

  #file(file: string): Promise<CachedFile | RemoteFile> {
    checkFileName(file, this.label);
    if (this.#closed) throw closedError(this.label);
    return remember(this.#files, file, () => this.#resolve(file));
  }

  /** The file in the cache if it is the current one, else what the server says of it. */
  async #resolve(file: string): Promise<CachedFile | RemoteFile> {
    const cached = await this.#options.cache?.open(this.#key(file));
    const isFinal = this.#options.offline || (this.#isFixed && cached?.etag !== ABSENT);
    if (cached !== undefined && isFinal) return this.#presentOnly(file, cached);
    if (this.#options.offline) throw this.#offline(file);
    let remote: RemoteFile;
    try {
      remote = await this.#remote.stat(file);
    } catch (error) {
      const code = error instanceof CheckpointError ? error.code : undefined;
      // A verdict of the Hub (no such model, not allowed) counts; only its silence lets the cache speak.
      if (cached !== undefined && code === "checkpoint/network") {
        this.#notice(error as CheckpointError);
        return this.#presentOnly(file, cached);
      }
      await cached?.close?.();
      if (code === "checkpoint/not-found") await this.#recordAbsence(file, error as CheckpointError, cached?.etag);
      throw error;
    }
    const isCurrent =
      cached?.etag === (remote.version && shortEtag(remote.version)) && (remote.size ?? cached?.size) === cached?.size;
    if (cached !== undefined && isCurrent) return { cached };
    await cached?.close?.();
    return remote;
  }

  #presentOnly(file: string, cached: CachedBlob): CachedFile {
    if (cached.etag === ABSENT || cached.etag === NO_ENTRY) throw notFound(file, this.label);
    return { cached };
  }

  async #recordAbsence(file: string, { cause }: CheckpointError, known: string | undefined): Promise<void> {
    const isSaid = cause instanceof HttpStatusError && cause.errorCode === "EntryNotFound";
    const version = { etag: isSaid ? NO_ENTRY : ABSENT, size: 0 };
    // A record is of use to later runs alone: where the cache cannot be written, they ask again.
    if (version.etag !== known) {
      await this.#options.cache?.put(this.#key(file), version, nothing()).catch(() => undefined);
    }
  }

  /** The file in the cache, downloaded if need be; undefined where there is no cache, or none that can be written. */
  async #stored(file: string, remote: RemoteFile): Promise<CachedFile | undefined> {
    if (this.#options.cache === undefined || this.#cacheFailed) return undefined;
    try {
      return await this.#download(file, remote);
    } catch (error) {
      if (!(error instanceof CheckpointError && error.code === "checkpoint/cache")) throw error;
      if (!this.#cacheFailed) {
        this.#options.onNotice?.(
          `${this.label}: ${error.message} Until then, files that are not in it are read from the server.`,
        );
      }
      this.#cacheFailed = true;
      return undefined;
    }
  }

  #download(file: string, remote: RemoteFile): Promise<CachedFile> {
    return remember(this.#downloads, file, async () => {
      const cache = this.#options.cache as BlobCache;
      const etag = remote.version ?? UNKNOWN;
      if (remote.size !== undefined) {
        const chunks = this.#counted(file, remote.size);
        return { cached: await cache.put(this.#key(file), { etag, size: remote.size }, chunks), isNew: true };
      }
      // An entry's name says its length, so one whose length is not announced is read first.
      const bytes = await this.#remote.readAll(file, WHOLE_FILE_BYTES);
      return { cached: await cache.put(this.#key(file), { etag, size: bytes.length }, only(bytes)), isNew: true };
    });
  }

  async *#counted(file: string, total: number): AsyncGenerator<Uint8Array, void, undefined> {
    let loaded = 0;
    for await (const chunk of this.#remote.chunks(file, total)) {
      yield chunk;
      loaded += chunk.length;
      this.#options.onDownload?.({ file, loaded, total });
    }
  }

  #key(file: string): string {
    return `${this.#keyPrefix}/${file}`;
  }

  #notice({ message }: CheckpointError): void {
    if (this.#noticed) return;
    this.#noticed = true;
    this.#options.onNotice?.(`${message} Files are read from ${this.#options.cache?.label} as they are.`);
  }

  #offline(file: string): CheckpointError {
    const where = this.#options.cache?.label ?? "a cache, which this host lacks";
    return new CheckpointError(
      "checkpoint/offline",
      `${this.label}: ${file} is not in ${where}, and HF_HUB_OFFLINE or the option \`offline\` forbids a download. ` +
        "Unset that, or give the folder of a model.",
    );
  }
}

/** @throws CheckpointError `checkpoint/bad-source` */
function parseHubUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url !== undefined && /^https?:$/.test(url.protocol)) return url;
  const message = `The Hub's address is ${JSON.stringify(text)}. Set HF_ENDPOINT, or \`hubUrl\`, to an http(s):// URL.`;
  throw new CheckpointError("checkpoint/bad-source", message);
}

/** @throws CheckpointError `checkpoint/bad-token`, which does not repeat it */
function parseToken(text: string | undefined, label: string): string | undefined {
  const token = text?.trim();
  if (!token) return undefined;
  if (/^[\x21-\x7e]+$/.test(token)) return token;
  throw new CheckpointError(
    "checkpoint/bad-token",
    `${label}: the access token has spaces or characters that no token has. Copy it again from where it was made.`,
  );
}

/** What a Hub says by `X-Error-Code`, a mirror by the status alone. */
function hubDialect(label: string, folder: URL, hasToken: boolean): Dialect {
  return {
    label,
    urlOf: (file) => below(folder, file),
    accept: `${XET_FILE_INFO}, */*`,
    isMissing({ status, errorCode }) {
      if (errorCode !== null) return errorCode === "EntryNotFound";
      return status === 403 || status === 404 || status === 410 ? "perhaps" : false;
    },
    failure(file, cause) {
      const [code, remedy] = verdictOf(cause, hasToken) ?? ["checkpoint/network", remedyOf(cause)];
      const message = `${label}: ${file} could not be fetched: ${reasonOf(cause)}. ${remedy}`;
      return new CheckpointError(code, message, { cause });
    },
  };
}

const GIVE_TOKEN = "set HF_TOKEN (in a page: `accessToken`) to an access token of an account that may read it";
const FORBIDDEN: Readonly<Record<string, string>> = {
  GatedRepo: `The model is gated: ask for access on its page, then ${GIVE_TOKEN}.`,
  none: `The model does not exist, or is private: check its name, or ${GIVE_TOKEN}.`,
  token:
    "The model does not exist, or the access token is wrong or may not read it: check the name and the token (HF_TOKEN).",
};

/** What a server means that says no. */
function verdictOf(cause: unknown, hasToken: boolean): [code: string, remedy: string] | undefined {
  if (!(cause instanceof HttpStatusError)) return undefined;
  const { status, errorCode } = cause;
  if (errorCode === "RevisionNotFound") return ["checkpoint/no-model", "Check the revision, after the @."];
  if (status === 401 || status === 403) {
    return ["checkpoint/forbidden", FORBIDDEN[errorCode ?? ""] ?? (FORBIDDEN[hasToken ? "token" : "none"] as string)];
  }
  return status === 404 || status === 410 ? ["checkpoint/no-model", "Check the model's name and revision."] : undefined;
}

/** One promise a key; a failure is forgotten, so that the next call tries again. */
function remember<Value>(known: Map<string, Promise<Value>>, key: string, make: () => Promise<Value>): Promise<Value> {
  const promise = known.get(key) ?? make();
  if (!known.has(key)) {
    known.set(key, promise);
    promise.catch(() => known.delete(key));
  }
  return promise;
}

async function* nothing(): AsyncGenerator<Uint8Array, void, undefined> {}

async function* only(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes;
}
