/** The files of a run in a folder, for Node and Deno. */
import { mkdir, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { writeWhole } from "../checkpoint/write-whole.node.ts";
import { PaperError } from "./errors.ts";
import type { RunStore } from "./store.ts";

export class FolderStore implements RunStore {
  constructor(readonly label: string) {}

  async read(name: string): Promise<string | undefined> {
    try {
      return await readFile(join(this.label, name), "utf8");
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw new PaperError(
        "paper/storage",
        `${join(this.label, name)} cannot be read: ${(cause as Error).message}. Name a folder of yours.`,
        { cause },
      );
    }
  }

  async write(name: string, text: string): Promise<void> {
    const path = join(this.label, name);
    try {
      await mkdir(dirname(path), { recursive: true });
      await writeWhole(path, [new TextEncoder().encode(text)]);
    } catch (cause) {
      throw new PaperError(
        "paper/storage",
        `${path} cannot be written: ${(cause as Error).message}. Make room or name a folder of yours, and start again: what is finished is kept.`,
        { cause },
      );
    }
  }
}
