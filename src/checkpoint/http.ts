/**
 * One HTTP request that can be trusted to end: it is repeated when the failure can pass, it stops when the signal says so,
 * and a server that falls silent in the middle of an answer has failed.
 */
import { abortable, LONGEST_TIMER_MS } from "../abort.ts";
import { CheckpointError } from "../errors.ts";
import * as s from "../schema/schema.ts";
import { HttpStatusError, RETRY_OPTIONS, type RetryOptions, withRetries } from "./retry.ts";
import { closedError } from "./source.ts";

/** What all sources that speak HTTP take. */
export interface HttpOptions {
  /**
   * Sent with every request, such as `Authorization`, in place of what would be sent under that name. A redirect to another
   * origin gets them as `fetch` specifies: all but `Authorization`, so a secret belongs there, not in a header of its own.
   */
  headers?: Record<string, string>;
  /** Stands in for the global `fetch`, to add a proxy for example. */
  fetch?: (url: URL, init: RequestInit) => Promise<Response>;
  retry?: RetryOptions;
  /** Ends every request, and every pause between two, with `signal.reason`. */
  signal?: AbortSignal | undefined;
  /** Called with what a person should know: a server asks for a pause, or sends whole files only. */
  onNotice?: (message: string) => void;
}

export const HTTP_FIELDS = {
  headers: s.record("texts by name", s.text),
  fetch: s.callback,
  retry: RETRY_OPTIONS,
  signal: s.signal,
  onNotice: s.callback,
} as const satisfies s.Fields<HttpOptions>;

const DEFAULT_TIMEOUT_MS = 60_000;

/** An answer whose body is read chunk by chunk. */
export class Answer {
  #reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
  #kept: Uint8Array | undefined;

  constructor(
    readonly response: Response,
    private readonly within: <T>(work: Promise<T>) => Promise<T>,
    private readonly release: () => void,
  ) {}

  /** The next bytes; undefined when all have come. */
  async next(): Promise<Uint8Array | undefined> {
    const kept = this.#kept;
    this.#kept = undefined;
    this.#reader ??= this.response.body?.getReader();
    return kept ?? (this.#reader && (await this.within(this.#reader.read())).value);
  }

  /** Passes over the next `count` bytes. */
  async skip(count: number): Promise<void> {
    for (let left = count; left > 0; ) {
      const chunk = await this.next();
      if (chunk === undefined) return;
      if (chunk.length > left) this.#kept = chunk.subarray(left);
      left -= chunk.length;
    }
  }

  /** All that is left of the body, probably `expected` bytes; where it is more than `limit`, some more than these. */
  async bytes(limit: number, expected = 0): Promise<Uint8Array> {
    let bytes = new Uint8Array(expected);
    let length = 0;
    while (length <= limit) {
      const chunk = await this.next();
      if (chunk === undefined) break;
      if (length + chunk.length > bytes.length) {
        const shorter = bytes;
        bytes = new Uint8Array(Math.max(2 * length, length + chunk.length));
        bytes.set(shorter.subarray(0, length));
      }
      bytes.set(chunk, length);
      length += chunk.length;
    }
    return length === bytes.length ? bytes : bytes.slice(0, length);
  }

  /** Stops what is still to come, which would go on downloading. */
  end(): void {
    this.release();
    const cancelled = this.#reader ? this.#reader.cancel() : this.response.body?.cancel();
    cancelled?.catch(() => undefined);
  }
}

/** Requests of one source. */
export class HttpClient {
  /** Aborted by the caller's signal and by `close`. */
  readonly #stop = new AbortController();
  readonly #forward = () => this.#stop.abort(this.options.signal?.reason);

  constructor(
    private readonly label: string,
    private readonly options: HttpOptions,
  ) {
    if (options.signal?.aborted) this.#forward();
    else options.signal?.addEventListener("abort", this.#forward, { once: true });
  }

  /** Ends what is under way. */
  close(): void {
    this.options.signal?.removeEventListener("abort", this.#forward);
    this.#stop.abort(closedError(this.label));
  }

  /** Whether the signal or `close` has ended it. */
  get isStopped(): boolean {
    return this.#stop.signal.aborted;
  }

  /** `attempt` with retries. @throws the signal's reason; what `attempt` throws */
  async retried<Result>(attempt: () => Promise<Result>): Promise<Result> {
    const { signal } = this.#stop;
    signal.throwIfAborted();
    const onWait = ({ message }: HttpStatusError, ms: number) =>
      this.options.onNotice?.(
        `${this.label}: ${message} and asks for a pause of ${Math.ceil(ms / 1000)} s. Waiting for it.`,
      );
    try {
      return await withRetries(attempt, this.options.retry, { signal, onWait });
    } catch (error) {
      signal.throwIfAborted();
      throw error;
    }
  }

  /** One GET, without retries. The caller ends the answer. */
  async get(url: URL, headers: Record<string, string>, method = "GET"): Promise<Answer> {
    const controller = new AbortController();
    const stop = () => controller.abort(this.#stop.signal.reason);
    this.#stop.signal.addEventListener("abort", stop, { once: true });
    const release = () => this.#stop.signal.removeEventListener("abort", stop);
    const within = <T>(work: Promise<T>, late?: (value: T) => void) => this.#within(controller, work, late);
    try {
      // Compressed bytes cannot be counted or read by range. A page may not send this, and its browser does so by itself.
      // (Deno does not unpack what comes compressed all the same if this is "identity" alone.)
      const unpacked = { "Accept-Encoding": "identity, *;q=0" };
      const sent = mergeHeaders(unpacked, headers, basicAuth(url, this.label), this.options.headers);
      const asking = (this.options.fetch ?? fetch)(withoutLogin(url), {
        method,
        headers: sent,
        signal: controller.signal,
      });
      const response = await within(asking, (late) => void late.body?.cancel().catch(() => undefined));
      return new Answer(response, within, release);
    } catch (error) {
      release();
      throw error;
    }
  }

  /** Waits no longer than the time a server may be silent. */
  async #within<T>(controller: AbortController, work: Promise<T>, late?: (value: T) => void): Promise<T> {
    const ms = this.options.retry?.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    const silent = () => controller.abort(new Error(`nothing came for ${ms / 1000} s`));
    const timer = setTimeout(silent, Math.min(ms, LONGEST_TIMER_MS));
    try {
      return await abortable(work, controller.signal, late);
    } finally {
      clearTimeout(timer);
    }
  }
}

/** Later ones win, whatever the case of their names, which are one header to `fetch`. */
export function mergeHeaders(...all: (Record<string, string> | undefined)[]): Record<string, string> {
  const entries = all.flatMap((headers) => Object.entries(headers ?? {}));
  return Object.fromEntries(entries.map(([name, value]) => [name.toLowerCase(), value]));
}

/**
 * The login of `https://user:password@host/`, which `fetch` refuses to send.
 * @throws CheckpointError `checkpoint/bad-source`
 */
export function basicAuth(url: URL, label: string): Record<string, string> {
  const { username, password } = url;
  if (username === "") return {};
  const [name, secret] = [username, password].map((part) => decodePart(part, `the login of ${label}`));
  const login = new TextEncoder().encode(`${name}:${secret}`);
  return { Authorization: `Basic ${btoa(String.fromCharCode(...login))}` };
}

/** `decodeURIComponent` of a part of an address. @throws CheckpointError `checkpoint/bad-source` */
export function decodePart(part: string, what: string): string {
  try {
    return decodeURIComponent(part);
  } catch (cause) {
    const message = `A % in ${what} does not begin a UTF-8 character such as %20. Write %25 for a % that is meant as such.`;
    throw new CheckpointError("checkpoint/bad-source", message, { cause });
  }
}

function withoutLogin(url: URL): URL {
  const bare = new URL(url);
  bare.username = "";
  bare.password = "";
  return bare;
}

/** What went wrong, in a clause. `fetch` hides what the system said in `cause`. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { cause } = error;
  return cause instanceof Error && cause.message ? `${error.message} (${cause.message})` : error.message;
}

/** What helps when a request failed for good, other than by 401, 403 or 404. */
export function remedyOf(error: unknown): string {
  if (!(error instanceof HttpStatusError)) {
    const isPage = "document" in globalThis || "importScripts" in globalThis;
    return `Check the connection and the address${isPage ? ", and that the server allows this page's origin (CORS)" : ""}.`;
  }
  if (error.retryAfterMs) return `It asks to wait for ${Math.ceil(error.retryAfterMs / 1000)} s: try again then.`;
  return error.status === 429 || error.status >= 500 ? "Try again later." : "Check the address.";
}
