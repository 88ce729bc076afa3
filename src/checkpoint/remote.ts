/**
 * Files behind URLs, read by HTTP Range requests (RFC 9110, section 14): what `UrlSource` and `HubSource` share. Servers
 * differ, and each of these is read rightly:
 *
 * | a request for the first byte gives        | so                                                                   |
 * |-------------------------------------------|----------------------------------------------------------------------|
 * | 206 and a Content-Range                   | ranges are read                                                      |
 * | 206, and a page may not see Content-Range | the length comes from a HEAD request; ranges are read                |
 * | 200: the server sends whole files only    | the file is read once and held in memory, up to `WHOLE_FILE_BYTES`   |
 * | 200 and Content-Encoding                  | the same; its length is not known before                             |
 * | 416                                       | the file is empty                                                    |
 * | 200 and a description of a Xet file       | the Hub says length and SHA-256 in headers; ranges are read          |
 */
import { CheckpointError } from "../errors.ts";
import { type Answer, HttpClient, type HttpOptions } from "./http.ts";
import { HttpStatusError } from "./retry.ts";
import { checkFileName, checkRange, checkWholeSize, DEFAULT_MAX_BYTES, notFound } from "./source.ts";

/** What a file is, as far as its server tells. */
export interface RemoteFile {
  /** Bytes; undefined when that is not known before all have come. */
  size: number | undefined;
  /** Changes when the contents do; undefined when the server gives nothing of the kind. */
  version: string | undefined;
  /** What later answers' ETag must be. */
  etag: string | null;
  /** Whether the server sends ranges. */
  ranges: boolean;
}

/** What is particular to one kind of server. */
export interface Dialect {
  /** Names the source in messages. */
  label: string;
  urlOf(file: string): URL;
  /** Media types to ask for when only facts are wanted. */
  accept?: string;
  /** Whether the answer says that there is no such file. "perhaps": it is also what says that nothing may be read. */
  isMissing(error: HttpStatusError): boolean | "perhaps";
  /** The error for a request that failed for good. */
  failure(file: string, cause: unknown): CheckpointError;
}

/** Bytes of whole files that are held in memory for a server without ranges: 512 MB. */
export const WHOLE_FILE_BYTES = 512 * 2 ** 20;

/** The file by which one can tell a missing file from a forbidden folder. */
const EVERY_MODEL_HAS = "config.json";

/** The Hub's description of a file in its chunked storage, given in place of the file to who asks for it. */
export const XET_FILE_INFO = "application/vnd.xet-fileinfo+json";

/** "bytes 0-99/1234"; a star in place of the range when it could not be satisfied, or of a length that is not known. */
const CONTENT_RANGE = /^bytes (?:(\d+)-(\d+)|\*)\/(?:(\d+)|\*)$/;

const RANGE_SERVERS =
  "Serve the folder by a server that sends ranges: `npx http-server`, `npx serve`, `npx sirv-cli`, Caddy or nginx.";

/** The files of one folder on a server. */
export class RemoteFiles {
  readonly #http: HttpClient;
  readonly #files = new Map<string, Promise<RemoteFile>>();
  readonly #whole = new Map<string, Promise<Uint8Array>>();
  #wholeBytes = 0;

  constructor(
    private readonly dialect: Dialect,
    private readonly options: HttpOptions,
  ) {
    this.#http = new HttpClient(dialect.label, options);
  }

  /** @throws CheckpointError `checkpoint/not-found` */
  stat(file: string): Promise<RemoteFile> {
    const known = this.#files.get(file);
    if (known !== undefined) return known;
    checkFileName(file, this.dialect.label);
    const asking = this.#ask(file);
    this.#files.set(file, asking);
    asking.catch(() => this.#files.delete(file));
    return asking;
  }

  async exists(file: string): Promise<boolean> {
    try {
      await this.stat(file);
      return true;
    } catch (error) {
      if (error instanceof CheckpointError && error.code === "checkpoint/not-found") return false;
      throw error;
    }
  }

  async size(file: string): Promise<number> {
    const remote = await this.stat(file);
    return remote.size ?? (await this.#readWhole(file, remote)).length;
  }

  async read(file: string, start: number, end: number): Promise<Uint8Array> {
    const remote = await this.stat(file);
    checkRange(file, start, end, await this.size(file));
    if (start === end) return new Uint8Array(0);
    const bytes = remote.ranges ? await this.#readRange(file, start, end, remote) : undefined;
    // Some servers send ranges of large files only.
    return bytes ?? (await this.#readWhole(file, remote)).slice(start, end);
  }

  /** The whole file, probably `expected` bytes. */
  async readAll(file: string, maxBytes = DEFAULT_MAX_BYTES, expected?: number): Promise<Uint8Array> {
    return this.#request(file, {}, async (answer) => {
      const bytes = await answer.bytes(maxBytes, expected);
      checkWholeSize(file, bytes.length, maxBytes);
      if (isPage(answer, bytes)) throw notFound(file, this.dialect.label);
      return bytes;
    });
  }

  /** All bytes of the file as they come. A broken connection is resumed where it broke. */
  async *chunks(file: string, size: number | undefined): AsyncGenerator<Uint8Array, void, undefined> {
    let loaded = 0;
    let etag: string | null = null;
    let answer: Answer | undefined;
    const next = async () => {
      try {
        if (answer === undefined) {
          answer = await this.#get(file, loaded > 0 ? { Range: `bytes=${loaded}-` } : {});
          if (differ(etag, answer.response)) throw this.#changed(file);
          etag ??= answer.response.headers.get("etag");
          await this.#skipTo(answer, file, loaded);
        }
        const chunk = await answer.next();
        if (chunk === undefined && size !== undefined && loaded < size) {
          throw new Error(`the download ended at byte ${loaded} of ${size}`);
        }
        return chunk;
      } catch (error) {
        answer?.end();
        answer = undefined;
        throw error;
      }
    };
    try {
      for (let chunk = await this.#retried(file, next); chunk !== undefined; chunk = await this.#retried(file, next)) {
        loaded += chunk.length;
        yield chunk;
      }
    } finally {
      answer?.end();
    }
  }

  /** Ends what is under way, and lets go of the files in memory. */
  close(): void {
    this.#http.close();
    this.#whole.clear();
  }

  async #ask(file: string): Promise<RemoteFile> {
    const headers = { Range: "bytes=0-0", ...(this.dialect.accept && { Accept: this.dialect.accept }) };
    const remote = await this.#request(file, headers, async (answer) => {
      const { response } = answer;
      // To look at a first byte costs nothing, and only a page makes it necessary.
      if (isHtml(response) && isPage(answer, (await answer.next()) ?? new Uint8Array(0))) {
        throw notFound(file, this.dialect.label);
      }
      return describe(response);
    });
    if (!remote.ranges || remote.size !== undefined) return remote;
    const asking = this.#request(file, {}, async ({ response }) => lengthOf(response), "HEAD");
    // The file is there, whatever a server says that does not know HEAD.
    const size = await asking.catch((error) => {
      if (this.#http.isStopped) throw error;
      return undefined;
    });
    return size === undefined ? { ...remote, ranges: false } : { ...remote, size };
  }

  /** Undefined when the server sends the whole file instead. */
  async #readRange(file: string, start: number, end: number, remote: RemoteFile): Promise<Uint8Array | undefined> {
    return this.#request(file, { Range: `bytes=${start}-${end - 1}` }, async (answer) => {
      const { response } = answer;
      if (response.status === 200) return undefined;
      this.#checkRangeAnswer(response, file, start, end, remote);
      const bytes = await answer.bytes(end - start, end - start);
      if (bytes.length > end - start) throw this.#badRange(file, start, `more than ${end - start} bytes`);
      if (bytes.length < end - start) throw new Error(`${bytes.length} of ${end - start} bytes came`);
      return bytes;
    });
  }

  #checkRangeAnswer(response: Response, file: string, start: number, end: number, remote: RemoteFile): void {
    const range = CONTENT_RANGE.exec(response.headers.get("content-range") ?? "");
    const [, first, last, total] = range?.map(Number) ?? [];
    // 416 says the file no longer reaches that far.
    if (response.status === 416 || differ(remote.etag, response)) throw this.#changed(file);
    if (total !== undefined && !Number.isNaN(total) && total !== remote.size) throw this.#changed(file);
    // A page does not see the header of another origin; then the number of bytes must do.
    if (first === start && last === end - 1) return;
    if (response.headers.has("content-range")) throw this.#badRange(file, start, response.headers.get("content-range"));
  }

  #badRange(file: string, start: number, came: string | null): CheckpointError {
    const message = `${this.dialect.label}: a range of ${file} from byte ${start} on was asked for, and ${came} came.`;
    return new CheckpointError("checkpoint/bad-range", `${message} The server's Range support is faulty: use another.`);
  }

  #changed(file: string): CheckpointError {
    const message = `${this.dialect.label}: ${file} changed while it was read. Open it again.`;
    return new CheckpointError("checkpoint/changed", message);
  }

  /** The file from memory, where it is held until the source is closed. */
  #readWhole(file: string, { size = 0 }: RemoteFile): Promise<Uint8Array> {
    const known = this.#whole.get(file);
    if (known !== undefined) return known;
    const reading = this.#fetchWhole(file, size);
    this.#whole.set(file, reading);
    reading.catch(() => this.#whole.delete(file));
    return reading;
  }

  async #fetchWhole(file: string, size: number): Promise<Uint8Array> {
    const { label } = this.dialect;
    const left = WHOLE_FILE_BYTES - this.#wholeBytes;
    if (size > left) throw this.#noRanges(file, size);
    if (this.#wholeBytes === 0) {
      this.options.onNotice?.(
        `${label}: the server sends whole files only, so ${file} is read at once and held in memory while it is open.`,
      );
    }
    try {
      const bytes = await this.readAll(file, left, size);
      this.#wholeBytes += bytes.length;
      return bytes;
    } catch (error) {
      if (error instanceof CheckpointError && error.code === "checkpoint/too-large") throw this.#noRanges(file, left);
      throw error;
    }
  }

  #noRanges(file: string, size: number): CheckpointError {
    return new CheckpointError(
      "checkpoint/no-range",
      `${this.dialect.label}: the server answers Range requests with whole files, and at most ${WHOLE_FILE_BYTES} bytes of them ` +
        `are held in memory; ${file} has ${size} or more. ${RANGE_SERVERS}`,
    );
  }

  /** Brings an answer to a request for the bytes from `start` on to that byte. */
  async #skipTo(answer: Answer, file: string, start: number): Promise<void> {
    const { status, headers } = answer.response;
    if (status === 416) throw this.#changed(file);
    const range = headers.get("content-range");
    const first = CONTENT_RANGE.exec(range ?? "")?.[1];
    if (status === 206 && first !== undefined && Number(first) !== start) throw this.#badRange(file, start, range);
    // A server without ranges begins again.
    if (status === 200) await answer.skip(start);
  }

  /** One request with retries, of asking and of reading the answer alike. `use` may throw plain errors to try again. */
  #request<Result>(
    file: string,
    headers: Record<string, string>,
    use: (answer: Answer) => Promise<Result>,
    method?: string,
  ): Promise<Result> {
    checkFileName(file, this.dialect.label);
    return this.#retried(file, async () => {
      const answer = await this.#get(file, headers, method);
      try {
        return await use(answer);
      } finally {
        answer.end();
      }
    });
  }

  async #retried<Result>(file: string, attempt: () => Promise<Result>): Promise<Result> {
    try {
      return await this.#http.retried(attempt);
    } catch (error) {
      if (error instanceof HttpStatusError && (await this.#isMissing(file, error))) {
        throw notFound(file, this.dialect.label, { cause: error });
      }
      if (error instanceof CheckpointError || this.#http.isStopped) throw error;
      throw this.dialect.failure(file, error);
    }
  }

  /** An answer that is a success, or 416, which answers a request for the first byte of an empty file. */
  async #get(file: string, headers: Record<string, string>, method?: string): Promise<Answer> {
    const answer = await this.#http.get(this.dialect.urlOf(file), headers, method);
    if (answer.response.ok || answer.response.status === 416) return answer;
    answer.end();
    throw new HttpStatusError(answer.response);
  }

  /** Object stores answer 403 for files that are not there; then others can be read, and every model has a config. */
  async #isMissing(file: string, error: HttpStatusError): Promise<boolean> {
    const missing = this.dialect.isMissing(error);
    if (missing !== "perhaps") return missing;
    if (file === EVERY_MODEL_HAS) return false;
    return this.stat(EVERY_MODEL_HAS).then(
      () => true,
      () => false,
    );
  }
}

function describe(response: Response): RemoteFile {
  const { headers } = response;
  const etag = headers.get("etag");
  const version =
    headers.get("x-linked-etag") ?? etag ?? headers.get("x-repo-commit") ?? headers.get("last-modified") ?? undefined;
  if (headers.get("content-type")?.includes(XET_FILE_INFO)) {
    return { size: numberIn(headers.get("x-linked-size")), version, etag: null, ranges: true };
  }
  const total = CONTENT_RANGE.exec(headers.get("content-range") ?? "")?.[3];
  if (total !== undefined) return { size: Number(total), version, etag, ranges: true };
  if (response.status === 206) return { size: undefined, version, etag, ranges: true };
  return { size: lengthOf(response), version, etag, ranges: false };
}

/** Whether the answer is of another version of the file, where both have an ETag. */
function differ(etag: string | null, { headers }: Response): boolean {
  const now = headers.get("etag");
  return etag !== null && now !== null && etag !== now;
}

/** Bytes of a whole answer; what is compressed has another length than its header says. */
function lengthOf({ headers }: Response): number | undefined {
  return headers.has("content-encoding") ? undefined : numberIn(headers.get("content-length"));
}

function numberIn(text: string | null): number | undefined {
  return text !== null && /^\d+$/.test(text) ? Number(text) : undefined;
}

function isHtml(response: Response): boolean {
  return (response.headers.get("content-type") ?? "").startsWith("text/html");
}

/** Single-page servers send their index.html, with status 200, for every path they do not know. No JSON begins so. */
function isPage({ response }: Answer, [first = 0]: Uint8Array): boolean {
  return isHtml(response) && /[<\s\u00ef]/.test(String.fromCharCode(first));
}
