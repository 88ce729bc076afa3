/** A folder on disk that a run writes to, for Node and Deno. */
import { mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { CheckpointError } from "../errors.ts";
import { FolderSource } from "./folder.node.ts";
import { type CheckpointSource, checkFileName } from "./source.ts";
import type { Chunks, FileStore } from "./store.ts";
import { writeWhole } from "./write-whole.node.ts";

export class FolderStore implements FileStore {
  constructor(readonly label: string) {}

  async write(file: string, chunks: Chunks): Promise<number> {
    checkFileName(file, this.label);
    const path = join(this.label, file);
    try {
      await mkdir(dirname(path), { recursive: true });
      return await writeWhole(path, chunks);
    } catch (cause) {
      if (!isOfTheDisk(cause)) throw cause;
      throw new CheckpointError(
        "checkpoint/write",
        `${path} cannot be written: ${cause.message}. What was written before is untouched; make room, or name another folder.`,
        { cause },
      );
    }
  }

  source(): CheckpointSource {
    return new FolderSource(this.label);
  }
}

const isOfTheDisk = (error: unknown): error is Error => error instanceof Error && "syscall" in error;
