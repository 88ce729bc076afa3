/**
 * A model folder on disk, for Node and for Deno (which speaks node:fs). Files are opened once, read at positions, and
 * closed together.
 *
 * Symbolic links are followed: the Python Hub cache is made of them. Only the names are confined to the folder.
 */
import { type FileHandle, open, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { CheckpointError } from "../errors.ts";
import { type CheckpointSource, checkFileName, checkRange, DEFAULT_MAX_BYTES, notFound, readWhole } from "./source.ts";

interface OpenFile {
  handle: FileHandle;
  size: number;
  /** When it was last written, in ms. */
  written: number;
}

/** What Hugging Face's own tools take for a model's name, and only that. */
const HUB_NAME = /^[\w-][\w.-]*\/[\w-][\w.-]*(?:@[^@\s]+)?$/;

/** `models--owner--name/snapshots/<commit>/`, seen from the folder of that cache. */
const DEEPEST = 3;
/** Folders of one level that are looked into: a home folder given by mistake has many. */
const MOST_FOLDERS = 200;

function isMissing(error: unknown): boolean {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  return code === "ENOENT" || code === "ENOTDIR";
}

const isFile = (path: string): Promise<boolean> =>
  stat(path).then(
    (facts) => facts.isFile(),
    () => false,
  );

function noFolder(path: string, cause: unknown): CheckpointError {
  const remedy = HUB_NAME.test(path)
    ? `Check the path; for the model of that name on the Hugging Face Hub, write hf:${path}.`
    : "Give the folder with the model's files, an http(s):// URL, or hf:owner/name for a model of the Hugging Face Hub.";
  const message = `${path} is not a folder that can be read. ${remedy}`;
  return new CheckpointError("checkpoint/no-folder", message, { cause });
}

/** A checkpoint in the folder `path`. */
export class FolderSource implements CheckpointSource {
  readonly label: string;
  readonly #open = new Map<string, Promise<OpenFile>>();
  #closed = false;

  constructor(path: string) {
    this.label = path;
  }

  /**
   * The files of the folder and of the folders in it, through links, `DEEPEST` levels down: as deep as Python's Hub cache.
   * @throws CheckpointError `checkpoint/no-folder`
   */
  async list(): Promise<string[]> {
    const files: string[] = [];
    let folders = [""];
    for (let depth = 0; depth <= DEEPEST && folders.length > 0; depth++) {
      const entries = (await Promise.all(folders.map((folder) => this.#entries(folder)))).flat();
      files.push(...entries.filter(({ isFolder }) => !isFolder).map(({ path }) => path));
      folders = entries.filter(({ isFolder }) => isFolder).map(({ path }) => `${path}/`);
      folders.length = Math.min(folders.length, MOST_FOLDERS);
    }
    return files;
  }

  async #entries(folder: string): Promise<{ path: string; isFolder: boolean }[]> {
    try {
      const entries = await readdir(join(this.label, folder), { withFileTypes: true });
      return await Promise.all(
        entries.map(async (entry) => {
          const path = folder + entry.name;
          // A link that leads nowhere is listed, as its name is.
          const facts = entry.isSymbolicLink() ? await stat(join(this.label, path)).catch(() => entry) : entry;
          return { path, isFolder: facts.isDirectory() };
        }),
      );
    } catch (cause) {
      // A folder below that cannot be read has nothing to offer.
      if (folder !== "") return [];
      throw noFolder(this.label, cause);
    }
  }

  async exists(file: string): Promise<boolean> {
    checkFileName(file, this.label);
    try {
      return (await stat(join(this.label, file))).isFile();
    } catch (error) {
      if (!isMissing(error)) throw this.#failed(file, error);
      // Nothing is in a folder that does not exist; a file where it should be is a mistake.
      if (await isFile(this.label)) throw noFolder(this.label, error);
      return false;
    }
  }

  async size(file: string): Promise<number> {
    return (await this.#file(file)).size;
  }

  async read(file: string, start: number, end: number): Promise<Uint8Array> {
    const { handle, size, written } = await this.#file(file);
    checkRange(file, start, end, size);
    const bytes = new Uint8Array(end - start);
    let filled = 0;
    while (filled < bytes.length) {
      const { bytesRead } = await this.#readInto(file, handle, bytes.subarray(filled), start + filled);
      if (bytesRead === 0) {
        const message = `${file} ended at byte ${start + filled} instead of ${size}: it changed while it was read.`;
        throw new CheckpointError("checkpoint/truncated", `${message} Wait for the download to finish.`);
      }
      filled += bytesRead;
    }
    // Weights may be read hours after the header. One that was replaced by another file is still there, as it was.
    if ((await this.#stat(file, handle)).mtimeMs !== written)
      throw new CheckpointError(
        "checkpoint/changed",
        `${join(this.label, file)} changed while it was read. Open it again.`,
      );
    return bytes;
  }

  async readAll(file: string, maxBytes = DEFAULT_MAX_BYTES): Promise<Uint8Array> {
    return readWhole(this, file, maxBytes);
  }

  async close(): Promise<void> {
    this.#closed = true;
    const files = await Promise.allSettled(this.#open.values());
    this.#open.clear();
    for (const file of files) if (file.status === "fulfilled") await file.value.handle.close();
  }

  async #readInto(file: string, handle: FileHandle, bytes: Uint8Array, position: number) {
    try {
      return await handle.read(bytes, 0, bytes.length, position);
    } catch (error) {
      throw this.#failed(file, error);
    }
  }

  async #stat(file: string, handle: FileHandle) {
    try {
      return await handle.stat();
    } catch (error) {
      throw this.#failed(file, error);
    }
  }

  #file(file: string): Promise<OpenFile> {
    checkFileName(file, this.label);
    if (this.#closed) {
      const message = `${file} was read after its source ${this.label} was closed. Open the checkpoint again.`;
      throw new CheckpointError("checkpoint/closed", message);
    }
    const known = this.#open.get(file);
    if (known !== undefined) return known;
    const opening = this.#openFile(file);
    this.#open.set(file, opening);
    // A file that is not there yet may be there at the next try.
    opening.catch(() => this.#open.delete(file));
    return opening;
  }

  async #openFile(file: string): Promise<OpenFile> {
    let handle: FileHandle | undefined;
    try {
      handle = await open(join(this.label, file), "r");
      const facts = await handle.stat();
      if (!facts.isFile()) throw notFound(file, this.label);
      return { handle, size: facts.size, written: facts.mtimeMs };
    } catch (error) {
      await handle?.close();
      if (!isMissing(error)) throw this.#failed(file, error);
      const hasFolder = await stat(this.label).then(
        (facts) => facts.isDirectory(),
        () => false,
      );
      throw hasFolder ? notFound(file, this.label, { cause: error }) : noFolder(this.label, error);
    }
  }

  #failed(file: string, cause: unknown): CheckpointError {
    if (cause instanceof CheckpointError) return cause;
    const reason = cause instanceof Error ? cause.message : String(cause);
    const message = `${join(this.label, file)} could not be read: ${reason}. Check its permissions.`;
    return new CheckpointError("checkpoint/read-failed", message, { cause });
  }
}
