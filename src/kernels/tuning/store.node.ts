/**
 * The tuner's choices on disk, for Node and Deno: one small JSON file for each key, in the folder `tuning` of the cache. If two
 * programs tune at once, the later file stays.
 */
import { createHash } from "node:crypto";
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { defaultCacheFolder } from "../../checkpoint/cache-folder.node.ts";
import { writeWhole } from "../../checkpoint/write-whole.node.ts";
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
    await mkdir(this.#root(), { recursive: true });
    await writeWhole(this.#pathOf(key), [new TextEncoder().encode(entryText(key, choices))]);
  }

  #root(): string {
    return this.folder ?? join(defaultCacheFolder(), "tuning");
  }

  #pathOf(key: string): string {
    return join(this.#root(), `${createHash("sha256").update(key).digest("hex").slice(0, 32)}.json`);
  }
}
