/**
 * The tuner's choices on disk, for Node and Deno: one small JSON file for each key, in the folder `tuning` of the cache. A file
 * is written beside its place and renamed. If two programs tune at once, the later file stays.
 */
import { createHash, randomUUID } from "node:crypto";
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { defaultCacheFolder } from "../../checkpoint/cache-folder.node.ts";
import { type Choices, entryText, parseEntry, type TuningStore } from "./store.ts";

/** A `TuningStore` in a folder, made when it is first written. */
export class FolderTuningStore implements TuningStore {
  /** @param folder default: `tuning` in the cache folder, which is looked up when it is needed. */
  constructor(private readonly folder?: string) {}

  async read(key: string): Promise<Choices | undefined> {
    try {
      return parseEntry(await readFile(this.#pathOf(key), "utf8"), key);
    } catch {
      return undefined; // not there, or not to be read: the defaults serve
    }
  }

  async write(key: string, choices: Choices): Promise<void> {
    const path = this.#pathOf(key);
    const partial = `${path}.${randomUUID()}`;
    await mkdir(this.#root(), { recursive: true });
    try {
      await writeFile(partial, entryText(key, choices));
      await rename(partial, path);
    } catch (error) {
      await rm(partial, { force: true }).catch(() => undefined);
      throw error;
    }
  }

  #root(): string {
    return this.folder ?? join(defaultCacheFolder(), "tuning");
  }

  #pathOf(key: string): string {
    return join(this.#root(), `${createHash("sha256").update(key).digest("hex").slice(0, 32)}.json`);
  }
}
