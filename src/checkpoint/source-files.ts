/**
 * Files the user picked in a browser. A `File` is a handle, not a buffer: `slice` reads only what it is asked for.
 *
 * A folder picker gives every file a `webkitRelativePath` such as "TinyStories/model.safetensors"; its first segment is
 * the picked folder's own name and is dropped, so that files are addressed as they are in any other source.
 */
import { CheckpointError } from "../errors.ts";
import { type CheckpointSource, checkFileName, checkRange, DEFAULT_MAX_BYTES, notFound, readWhole } from "./source.ts";

/** A blob under a name, for data that did not come as `File`. */
export interface NamedBlob {
  name: string;
  blob: Blob;
}

function nameAndBlob(entry: File | NamedBlob): [name: string, blob: Blob] {
  if ("blob" in entry) return [entry.name, entry.blob];
  const path = entry.webkitRelativePath;
  return [path ? path.slice(path.indexOf("/") + 1) : entry.name, entry];
}

/** A checkpoint in a list of `File`s (from a file or folder picker, or dropped) or of named blobs. */
export class FilesSource implements CheckpointSource {
  readonly label: string;
  readonly #blobs = new Map<string, Blob>();

  /** @throws CheckpointError `checkpoint/duplicate-file` when two files have one name */
  constructor(files: Iterable<File | NamedBlob>, label = "the chosen files") {
    this.label = label;
    for (const entry of files) {
      const [name, blob] = nameAndBlob(entry);
      if (this.#blobs.has(name)) {
        const message = `${label}: two files are called ${name}. Choose the files of one model only.`;
        throw new CheckpointError("checkpoint/duplicate-file", message);
      }
      this.#blobs.set(name, blob);
    }
  }

  /** A source of files whose contents are at hand. */
  static of(files: Iterable<readonly [name: string, content: Uint8Array]>, label: string): FilesSource {
    const named = [...files].map(([name, content]) => ({ name, blob: new Blob([content as BlobPart]) }));
    return new FilesSource(named, label);
  }

  async list(): Promise<string[]> {
    return [...this.#blobs.keys()];
  }

  async exists(file: string): Promise<boolean> {
    checkFileName(file, this.label);
    return this.#blobs.has(file);
  }

  async size(file: string): Promise<number> {
    return this.#blob(file).size;
  }

  async read(file: string, start: number, end: number): Promise<Uint8Array> {
    const blob = this.#blob(file);
    checkRange(file, start, end, blob.size);
    try {
      return new Uint8Array(await blob.slice(start, end).arrayBuffer());
    } catch (cause) {
      // Browsers revoke a File whose contents changed after it was picked.
      const message = `${file} could not be read; it may have changed since it was chosen. Choose it again.`;
      throw new CheckpointError("checkpoint/read-failed", message, { cause });
    }
  }

  async readAll(file: string, maxBytes = DEFAULT_MAX_BYTES): Promise<Uint8Array> {
    return readWhole(this, file, maxBytes);
  }

  #blob(file: string): Blob {
    checkFileName(file, this.label);
    const blob = this.#blobs.get(file);
    if (blob === undefined) throw notFound(file, this.label);
    return blob;
  }
}
