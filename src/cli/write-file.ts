/** Writes a file whole or not at all: it appears under its name once everything is in it. */
import { constants } from "node:fs";
import { access, mkdir, open, realpath, stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import type { Chunks } from "../checkpoint/index.ts";
import { writeWhole } from "../checkpoint/write-whole.node.ts";
import { SuperlensError } from "../errors.ts";
import { stop } from "./stop.ts";

/**
 * Checks that `path` can be written, before the work whose result it will hold.
 * @throws SuperlensError `cli/not-writable`
 */
export async function checkWritable(path: string): Promise<void> {
  if (path.trim() === "") throw notWritable(`An empty name cannot be written. Give the name of a file.`);
  const place = await placeOf(path);
  if (place.kind === "folder") throw notWritable(`${path} cannot be written: it is a folder. Name a file in it.`);
  const isDevice = place.kind === "device";
  const asked = isDevice ? place.path : dirname(place.path);
  if (isDevice ? await isWritable(asked) : await isWritableFolder(asked)) return;
  const reason = isDevice ? "it is not yours to write to" : `${asked} is no folder that you may write to`;
  throw notWritable(`${path} cannot be written: ${reason}. Name a file in a folder of yours.`);
}

/**
 * Whether a folder could be made or written to, asked before the work whose result it is to hold.
 * @throws SuperlensError `cli/not-writable`
 */
export async function checkFolder(path: string): Promise<void> {
  if (path.trim() === "") throw notWritable("An empty name is no folder. Give the name of one.");
  let place = resolve(path);
  while (!(await stat(place).catch(() => undefined)) && dirname(place) !== place) place = dirname(place);
  if (await isWritableFolder(place)) return;
  throw notWritable(
    `The folder ${path} cannot be made: ${place} is no folder that you may write to. Name one in a folder of yours.`,
  );
}

/**
 * Makes a folder, and those above it, unless it is there already.
 * @throws SuperlensError `cli/not-writable`
 */
export async function makeFolder(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true });
  } catch (cause) {
    throw notWritable(`The folder ${path} cannot be made: ${(cause as Error).message}`, { cause });
  }
}

/** Writes `chunks` to `path`, by way of a file beside it; returns the bytes written. */
export async function writeFileWhole(path: string, chunks: Chunks): Promise<number> {
  const place = await placeOf(path);
  // A file put in the place of /dev/null would be a bad surprise for everybody.
  return (place.kind === "device" ? writeThrough : writeWhole)(place.path, untilStopped(chunks));
}

async function* untilStopped(chunks: Chunks): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    stop.signal.throwIfAborted();
    yield chunk;
  }
}

/** Writes to what is there. */
async function writeThrough(path: string, chunks: Chunks): Promise<number> {
  const file = await open(path, "w");
  let bytes = 0;
  try {
    for await (const chunk of chunks) {
      await file.writeFile(chunk);
      bytes += chunk.byteLength;
    }
    return bytes;
  } finally {
    await file.close();
  }
}

/** Where a name leads, links followed, and what is there: a file that is or may come, a folder, or a device or pipe. */
async function placeOf(name: string): Promise<{ path: string; kind: "file" | "folder" | "device" }> {
  const path = await realpath(name).catch(() => name);
  const facts = await stat(path).catch(() => undefined);
  if (facts?.isDirectory() || /[/\\]$/.test(name)) return { path, kind: "folder" };
  return { path, kind: facts === undefined || facts.isFile() ? "file" : "device" };
}

async function isWritableFolder(path: string): Promise<boolean> {
  const isFolder = await stat(path).then(
    (facts) => facts.isDirectory(),
    () => false,
  );
  return isFolder && isWritable(path);
}

async function isWritable(path: string): Promise<boolean> {
  return access(path, constants.W_OK).then(
    () => true,
    () => false,
  );
}

function notWritable(message: string, options?: ErrorOptions): SuperlensError {
  return new SuperlensError("cli/not-writable", message, options);
}
