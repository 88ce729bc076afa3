/** A folder on disk that a run writes to, for Node and Deno. A file is written beside its name, flushed, and renamed. */
import { mkdir, open, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { CheckpointError } from "../errors.ts";
import { FolderSource } from "./folder.node.ts";
import { type CheckpointSource, checkFileName } from "./source.ts";
import type { Chunks, FileStore } from "./store.ts";

export class FolderStore implements FileStore {
  constructor(readonly label: string) {}

  async write(file: string, chunks: Chunks): Promise<number> {
    checkFileName(file, this.label);
    const path = join(this.label, file);
    const partial = `${path}.partial`;
    try {
      await mkdir(dirname(path), { recursive: true });
      const bytes = await writeFlushed(partial, chunks);
      await rename(partial, path);
      return bytes;
    } catch (cause) {
      await rm(partial, { force: true }).catch(() => undefined);
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

/** Flushed, so that the rename cannot reach the disk before the contents. */
async function writeFlushed(path: string, chunks: Chunks): Promise<number> {
  const file = await open(path, "w");
  let bytes = 0;
  try {
    for await (const chunk of chunks) {
      await file.writeFile(chunk);
      bytes += chunk.byteLength;
    }
    await file.sync();
    return bytes;
  } finally {
    await file.close();
  }
}

const isOfTheDisk = (error: unknown): error is Error => error instanceof Error && "syscall" in error;
