/**
 * Writes a file whole or not at all, for Node and Deno: beside its name, flushed, and renamed. The name beside it is its own, so
 * that two who write one file do not meet.
 */
import { randomUUID } from "node:crypto";
import { open, rename, rm } from "node:fs/promises";
import type { Chunks } from "./store.ts";

/** Writes `chunks` to `path`; returns the bytes written. What was there before stays until all is there. */
export async function writeWhole(path: string, chunks: Chunks): Promise<number> {
  const partial = `${path}.${randomUUID()}.partial`;
  try {
    const bytes = await writeFlushed(partial, chunks);
    await rename(partial, path);
    return bytes;
  } catch (error) {
    await rm(partial, { force: true }).catch(() => undefined);
    throw error;
  }
}

/** Flushed, so that a rename cannot reach the disk before the contents. */
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
