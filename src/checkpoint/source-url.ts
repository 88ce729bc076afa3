/** A model folder behind a URL prefix. How it is read stands in `remote.ts`. */
import { CheckpointError } from "../errors.ts";
import * as s from "../schema/schema.ts";
import { HTTP_FIELDS, type HttpOptions, reasonOf, remedyOf } from "./http.ts";
import { type Dialect, RemoteFiles } from "./remote.ts";
import { HttpStatusError } from "./retry.ts";
import type { CheckpointSource } from "./source.ts";

/** Options of `UrlSource`. */
export interface UrlSourceOptions extends HttpOptions {}

export const URL_SOURCE_OPTIONS = s.object<UrlSourceOptions>("the options of UrlSource", HTTP_FIELDS);

/** A checkpoint under a URL prefix: `config.json` is fetched from `<prefix>/config.json`, with the prefix's query. */
export class UrlSource implements CheckpointSource {
  readonly label: string;
  readonly #files: RemoteFiles;

  /** @throws CheckpointError `checkpoint/bad-source` when the prefix is no http(s) URL */
  constructor(prefix: string | URL, given: UrlSourceOptions = {}) {
    const options = s.readOptions(URL_SOURCE_OPTIONS, given, "UrlSource");
    // `URL.parse` would do, but came with Node 22.
    const url = URL.canParse(prefix) ? new URL(prefix) : undefined;
    if (url === undefined || !/^https?:$/.test(url.protocol)) {
      const message = `${prefix} is not an http:// or https:// URL. Give the URL of the model's folder.`;
      throw new CheckpointError("checkpoint/bad-source", message);
    }
    // Without the query: it may carry a token, and labels go into messages.
    this.label = url.origin + url.pathname;
    this.#files = new RemoteFiles(dialectOf(this.label, url), options);
  }

  exists(file: string): Promise<boolean> {
    return this.#files.exists(file);
  }

  size(file: string): Promise<number> {
    return this.#files.size(file);
  }

  read(file: string, start: number, end: number): Promise<Uint8Array> {
    return this.#files.read(file, start, end);
  }

  readAll(file: string, maxBytes?: number): Promise<Uint8Array> {
    return this.#files.readAll(file, maxBytes);
  }

  async close(): Promise<void> {
    this.#files.close();
  }
}

function dialectOf(label: string, prefix: URL): Dialect {
  return {
    label,
    urlOf: (file) => below(prefix, file),
    isMissing: ({ status }) => (status === 403 ? "perhaps" : status === 404 || status === 410),
    failure(file, cause) {
      const forbidden = cause instanceof HttpStatusError && (cause.status === 401 || cause.status === 403);
      const remedy = forbidden
        ? "The server wants other credentials: put them into the address (https://user:password@host/), or open a UrlSource with `headers`."
        : remedyOf(cause);
      const message = `${label}: ${file} could not be fetched: ${reasonOf(cause)}. ${remedy}`;
      return new CheckpointError(forbidden ? "checkpoint/forbidden" : "checkpoint/network", message, { cause });
    },
  };
}

/** The URL of a file in the folder `prefix`. */
export function below(prefix: URL, file: string): URL {
  const url = new URL(prefix);
  const name = file.split("/").map(encodeURIComponent).join("/");
  url.pathname = `${url.pathname.replace(/\/+$/, "")}/${name}`;
  return url;
}
