/**
 * Where a long run keeps its files. A file appears under its name once everything is in it, so that a run which is killed
 * leaves the last whole one. What was written is read as a source of checkpoints.
 */
import { CheckpointError } from "../errors.ts";
import * as s from "../schema/schema.ts";
import { type CheckpointSource, checkFileName } from "./source.ts";
import { FilesSource } from "./source-files.ts";
import { SubfolderSource } from "./subfolder.ts";

/** A file's contents, in order. */
export type Chunks = AsyncIterable<Uint8Array> | Iterable<Uint8Array>;

/** A folder to write to: of a disk (`openStore(path)`), of memory (`MemoryStore`), or your own. */
export interface FileStore {
  /** Names the folder in messages. */
  readonly label: string;
  /**
   * Writes a file whole or not at all, in place of one of that name; gives its bytes.
   * @throws CheckpointError `checkpoint/write` where that cannot be done
   */
  write(file: string, chunks: Chunks): Promise<number>;
  /** The files written so far, for reading. The caller closes it. */
  source(): CheckpointSource;
}

/** Whether a value is a store. */
export const isStore = (value: unknown): value is FileStore =>
  typeof value === "object" && value !== null && "write" in value && "source" in value;

/** A store as an argument of calls: the name of a folder will do. */
export const STORE = s.byForm<string | FileStore>("a folder, or a store such as new MemoryStore()", (value) =>
  typeof value === "string" ? s.text : isStore(value) ? s.simple("a store", isStore) : undefined,
);

/** The store that such an argument means. @throws CheckpointError `checkpoint/no-folder` */
export const storeOf = (place: string | FileStore): FileStore => (typeof place === "string" ? openStore(place) : place);

/** A folder of a store as a store. */
export const storeWithin = (store: FileStore, folder: string): FileStore => ({
  label: `${store.label.replace(/\/$/, "")}/${folder}`,
  write: (file, chunks) => store.write(`${folder}/${file}`, chunks),
  source: () => new SubfolderSource(store.source(), `${folder}/`),
});

/** A text file of a store; undefined if there is none. @throws CheckpointError where that cannot be found out */
export async function readText(store: FileStore, file: string): Promise<string | undefined> {
  const source = store.source();
  try {
    return (await source.exists(file)) ? new TextDecoder().decode(await source.readAll(file)) : undefined;
  } finally {
    await source.close?.();
  }
}

/** Writes a text file, whole or not at all. @throws CheckpointError `checkpoint/write` */
export async function writeText(store: FileStore, file: string, text: string): Promise<void> {
  await store.write(file, [new TextEncoder().encode(text)]);
}

/** Files in memory, for a page, which has no folders. */
export class MemoryStore implements FileStore {
  readonly #files = new Map<string, Blob>();

  constructor(readonly label = "files in memory") {}

  async write(file: string, chunks: Chunks): Promise<number> {
    checkFileName(file, this.label);
    const parts: BlobPart[] = [];
    for await (const chunk of chunks) parts.push(chunk as BlobPart);
    const blob = new Blob(parts);
    this.#files.set(file, blob);
    return blob.size;
  }

  source(): CheckpointSource {
    return new FilesSource(
      [...this.#files].map(([name, blob]) => ({ name, blob })),
      this.label,
    );
  }
}

let openFolderStore: ((path: string) => FileStore) | undefined;

/** Tells how folders are written on this host. Called once by the Node and Deno entry. */
export function registerFileStore(open: (path: string) => FileStore): void {
  openFolderStore = open;
}

/**
 * A folder on disk to write to; it is made with the first file.
 * @throws CheckpointError `checkpoint/no-folder` on a host without a file system
 */
export function openStore(path: string): FileStore {
  s.readArgument(s.text, path, "openStore", "path");
  if (openFolderStore) return openFolderStore(path);
  throw new CheckpointError(
    "checkpoint/no-folder",
    `${path}: a page cannot write folders. Give a MemoryStore, or a store of your own.`,
  );
}
