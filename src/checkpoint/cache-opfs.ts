/**
 * The download cache in a browser: the Origin Private File System, whose files are read by range without loading them.
 * `createWritable` writes to a copy that replaces the file at `close()` and vanishes at `abort()`, so it is the rename.
 */
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

/** A `BlobCache` below a directory of the Origin Private File System. */
export class OpfsCache implements BlobCache {
  readonly label = "the browser's storage";
  readonly #root: FileSystemDirectoryHandle;

  constructor(root: FileSystemDirectoryHandle) {
    this.#root = root;
  }

  async open(key: string): Promise<CachedBlob | undefined> {
    const directory = await this.#directory(key, false);
    if (directory === undefined) return undefined;
    for await (const [name, handle] of directory.entries()) {
      const version = versionFromName(name);
      if (version === undefined || handle.kind !== "file") continue;
      const entry = await openEntry(handle as FileSystemFileHandle, version);
      if (entry !== undefined) return entry;
    }
    return undefined;
  }

  async put(key: string, version: BlobVersion, chunks: AsyncIterable<Uint8Array>): Promise<CachedBlob> {
    const directory = (await this.#directory(key, true)) as FileSystemDirectoryHandle;
    const name = entryName(version);
    const handle = await directory.getFileHandle(name, { create: true });
    const file = await handle.createWritable();
    try {
      for await (const chunk of exactly(version.size, chunks, key)) await file.write(chunk as Uint8Array<ArrayBuffer>);
      await file.close();
    } catch (error) {
      await file.abort();
      // The handle was made before there was anything in it.
      if (version.size > 0) await directory.removeEntry(name);
      throw asCacheError(error, key, this.label);
    }
    await removeOthers(directory, name);
    return (await openEntry(handle, version)) as CachedBlob;
  }

  async #directory(key: string, create: boolean): Promise<FileSystemDirectoryHandle | undefined> {
    let directory = this.#root;
    for (const segment of key.split("/")) {
      const next = await directory.getDirectoryHandle(safeSegment(segment), { create }).catch((error) => {
        if (create) throw error;
        return undefined;
      });
      if (next === undefined) return undefined;
      directory = next;
    }
    return directory;
  }
}

/** The entry, unless the file's length is not what its name says. */
async function openEntry(handle: FileSystemFileHandle, version: BlobVersion): Promise<CachedBlob | undefined> {
  const file = await handle.getFile();
  if (file.size !== version.size) return undefined;
  const read = async (start: number, end: number) => new Uint8Array(await file.slice(start, end).arrayBuffer());
  return { ...version, label: `${handle.name} in the browser's storage`, read };
}

/** Errors of the download pass through; a full storage is named, with the way out. */
function asCacheError(cause: unknown, key: string, label: string): unknown {
  if (!(cause instanceof Error) || cause.name !== "QuotaExceededError") return cause;
  const message = `${key} could not be stored in ${label}, which is full. Clear this site's data in the browser's settings, or free space.`;
  return new CheckpointError("checkpoint/cache", message, { cause });
}

async function removeOthers(directory: FileSystemDirectoryHandle, current: string): Promise<void> {
  const names: string[] = [];
  for await (const [name, handle] of directory.entries()) {
    if (name !== current && handle.kind === "file") names.push(name);
  }
  for (const name of names) await directory.removeEntry(name);
}

/** The cache of this browser, or undefined where there is none (no secure context, private windows of some browsers). */
export async function openBrowserCache(): Promise<BlobCache | undefined> {
  const storage = globalThis.navigator?.storage;
  if (typeof storage?.getDirectory !== "function") return undefined;
  try {
    const root = await storage.getDirectory();
    return new OpfsCache(await root.getDirectoryHandle("superlens", { create: true }));
  } catch (error) {
    if (error instanceof DOMException && error.name === "SecurityError") return undefined;
    throw error;
  }
}
