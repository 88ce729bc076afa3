/**
 * The download cache on disk, for Node and Deno. A download goes to a ".partial-" file, is checked (length, and the
 * SHA-256 that the Hub uses as ETag of large files), and gets its name by a rename, which is atomic.
 */
import { createHash, randomUUID } from "node:crypto";
import { type FileHandle, mkdir, open, readdir, rename, rm, stat } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { CheckpointError } from "../errors.ts";
import {
  type BlobCache,
  type BlobVersion,
  type CachedBlob,
  entryName,
  exactly,
  safeSegment,
  versionFromName,
} from "./cache.ts";
import { FolderSource } from "./folder.node.ts";

const PARTIAL = ".partial-";
/** A partial file this old belongs to a process that died. */
const ABANDONED_MS = 24 * 3600 * 1000;

/**
 * The cache folder: `$SUPERLENS_CACHE`, or a `superlens` folder in `$HF_HOME`, in `$XDG_CACHE_HOME`, or in `~/.cache`,
 * the first that is set.
 */
export function defaultCacheFolder(environment: Record<string, string | undefined> = process.env): string {
  const { SUPERLENS_CACHE, HF_HOME, XDG_CACHE_HOME } = environment;
  return SUPERLENS_CACHE || join(HF_HOME || XDG_CACHE_HOME || join(homedir(), ".cache"), "superlens");
}

/** A `BlobCache` in a folder, made when it is first written. */
export class FolderCache implements BlobCache {
  readonly label: string;

  constructor(folder: string = defaultCacheFolder()) {
    this.label = folder;
  }

  async open(key: string): Promise<CachedBlob | undefined> {
    const folder = this.#folderOf(key);
    const names = await readdir(folder).catch(() => []);
    for (const name of names) {
      const version = versionFromName(name);
      const facts = version && (await stat(join(folder, name)).catch(() => undefined));
      if (version !== undefined && facts?.isFile() && facts.size === version.size) return openEntry(folder, version);
    }
    return undefined;
  }

  async put(key: string, version: BlobVersion, chunks: AsyncIterable<Uint8Array>): Promise<CachedBlob> {
    const folder = this.#folderOf(key);
    const partial = join(folder, PARTIAL + randomUUID());
    try {
      await mkdir(folder, { recursive: true });
      await writeChecked(partial, version, chunks, key);
      await rename(partial, join(folder, entryName(version)));
      await removeOthers(folder, entryName(version));
    } catch (cause) {
      // What stopped the download may also stop the cleaning up; the first failure is the one to report.
      await rm(partial, { force: true }).catch(() => undefined);
      throw asCacheError(cause, key, this.label);
    }
    return openEntry(folder, version);
  }

  #folderOf(key: string): string {
    return join(this.label, ...key.split("/").map(safeSegment));
  }
}

function openEntry(folder: string, version: BlobVersion): CachedBlob {
  const source = new FolderSource(folder);
  const name = entryName(version);
  const read: CachedBlob["read"] = (start, end) => source.read(name, start, end);
  return { ...version, label: join(folder, name), read, close: () => source.close() };
}

async function writeChecked(
  path: string,
  { etag, size }: BlobVersion,
  chunks: AsyncIterable<Uint8Array>,
  key: string,
): Promise<void> {
  const file = await open(path, "wx");
  const hash = createHash("sha256");
  try {
    for await (const chunk of exactly(size, chunks, key)) {
      hash.update(chunk);
      await writeAll(file, chunk);
    }
    await file.sync();
  } finally {
    await file.close();
  }
  const digest = hash.digest("hex");
  const expected = /^"?([0-9a-f]{64})"?$/.exec(etag)?.[1] ?? digest;
  if (digest === expected) return;
  throw new CheckpointError(
    "checkpoint/incomplete-download",
    `${key}: the download has SHA-256 ${digest}, the server announced ${expected}; nothing was kept. Try again.`,
  );
}

async function writeAll(file: FileHandle, chunk: Uint8Array): Promise<void> {
  let written = 0;
  while (written < chunk.length) written += (await file.write(chunk, written)).bytesWritten;
}

/** Removes other versions, and downloads that died a day ago or earlier; a younger one may still be running. */
async function removeOthers(folder: string, current: string): Promise<void> {
  for (const name of await readdir(folder)) {
    const path = join(folder, name);
    const facts = await stat(path).catch(() => undefined);
    const isOld = name.startsWith(PARTIAL) && facts !== undefined && Date.now() - facts.mtimeMs > ABANDONED_MS;
    const isOtherVersion = name !== current && versionFromName(name) !== undefined && facts?.isFile();
    // Windows cannot remove a file another process reads; it is removed at the next download then.
    if (isOld || isOtherVersion) await rm(path, { force: true }).catch(() => undefined);
  }
}

/** Errors of the download pass through; those of the disk name the cache and the way out. */
function asCacheError(cause: unknown, key: string, label: string): unknown {
  if (!(cause instanceof Error && "syscall" in cause)) return cause;
  const message = `${key} could not be stored in the cache ${label}: ${cause.message}. `;
  const remedy = "Free some space, or set SUPERLENS_CACHE to a folder that can be written.";
  return new CheckpointError("checkpoint/cache", message + remedy, { cause });
}
