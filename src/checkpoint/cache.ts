/**
 * A cache of downloaded files, and the promise every implementation keeps: an entry is visible only when all of its
 * bytes have arrived. A process that dies in the middle of a download leaves nothing that looks like a file.
 *
 * An entry is one file whose name says what is in it, `<etag>.<size>`, in a directory that is its key. So there is no
 * second file with metadata that could disagree, and an entry of the wrong length is recognised as broken.
 */
import { CheckpointError } from "../errors.ts";
import { fnv1a } from "../fnv1a.ts";

/** What identifies the contents of a file: the server's ETag, and its length in bytes. */
export interface BlobVersion {
  etag: string;
  size: number;
}

/** A complete file in the cache. */
export interface CachedBlob extends BlobVersion {
  /** Where it lies, for messages. */
  readonly label: string;
  /** Bytes `start` (included) to `end` (excluded). */
  read(start: number, end: number): Promise<Uint8Array>;
  /** Ends the reading. */
  close?(): Promise<void>;
}

/** Keeps downloaded files. Implementations: `FolderCache` (Node, Deno) and `OpfsCache` (browsers). */
export interface BlobCache {
  /** Names the cache in messages. */
  readonly label: string;
  /** The complete entry under `key` (segments separated by "/"), whatever its version. */
  open(key: string): Promise<CachedBlob | undefined>;
  /**
   * Stores all of `chunks` under `key`, in place of any other version, and opens it.
   * @throws CheckpointError `checkpoint/incomplete-download` when the bytes are not those `version` promises; then,
   *   and when `chunks` throws, nothing is stored.
   */
  put(key: string, version: BlobVersion, chunks: AsyncIterable<Uint8Array>): Promise<CachedBlob>;
}

/** Escapes what file systems and OPFS refuse in one path segment, and what would leave the folder. */
export function safeSegment(segment: string): string {
  const toHex = (char: string) => `%${char.charCodeAt(0).toString(16).padStart(4, "0")}`;
  return segment.replace(/^\.+$|[^A-Za-z0-9_.-]/g, (match) => [...match].map(toHex).join(""));
}

/** Characters of an ETag in a file's name, which may have 255 in all. */
const LONGEST_ETAG = 200;

/** The ETag, or two hashes and the length of one that is too long for a file's name. */
export function shortEtag(etag: string): string {
  if (safeSegment(etag).length <= LONGEST_ETAG) return etag;
  const hashes = [etag, [...etag].reverse().join("")].map((text) => fnv1a(text).toString(16));
  return ["long", ...hashes, etag.length].join("-");
}

/** File name of an entry. */
export function entryName({ etag, size }: BlobVersion): string {
  return `${safeSegment(shortEtag(etag))}.${size}`;
}

/** The version an entry's file name states, with its ETag as `shortEtag` gives it, or undefined for any other file. */
export function versionFromName(name: string): BlobVersion | undefined {
  const match = /^([^.].*)\.(\d+)$/.exec(name);
  if (match === null) return undefined;
  const etag = (match[1] as string).replace(/%([0-9a-f]{4})/g, (_, code) =>
    String.fromCharCode(Number.parseInt(code, 16)),
  );
  return { etag, size: Number(match[2]) };
}

/** Passes `chunks` on and fails, at the latest at the end, unless they add up to `size` bytes. */
export async function* exactly(
  size: number,
  chunks: AsyncIterable<Uint8Array>,
  key: string,
): AsyncGenerator<Uint8Array, void, undefined> {
  let received = 0;
  for await (const chunk of chunks) {
    received += chunk.length;
    if (received > size) break;
    yield chunk;
  }
  if (received === size) return;
  const amount = received > size ? `more than the ${size} bytes` : `${received} of ${size} bytes`;
  throw new CheckpointError(
    "checkpoint/incomplete-download",
    `${key}: ${amount} that the server announced have arrived; nothing was kept. Try again.`,
  );
}
