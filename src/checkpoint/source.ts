/**
 * Where a checkpoint's files come from. A source is a flat view of one model folder, wherever it lives: it can say
 * whether a file exists and how long it is, and read a range of it. Nothing above this interface knows about disks,
 * HTTP or the Hub, so everything above it runs in a browser.
 *
 * Every source refuses file names that leave its folder: the names come from the checkpoint's own index, which is data
 * from strangers.
 */
import { CheckpointError } from "../errors.ts";

/** The files of one model. Implementations: `FolderSource`, `UrlSource`, `FilesSource`, `HubSource`. */
export interface CheckpointSource {
  /** Names the source in messages: the folder, URL or `hf:` name. */
  readonly label: string;
  /** Names of the files, where the source can list them (HTTP cannot). */
  list?(): Promise<string[]>;
  /** Whether the source has the file. @throws CheckpointError when that cannot be found out. */
  exists(file: string): Promise<boolean>;
  /** Bytes of the file. @throws CheckpointError `checkpoint/not-found` */
  size(file: string): Promise<number>;
  /** Bytes `start` (included) to `end` (excluded), all of them or an error. The array belongs to the caller. */
  read(file: string, start: number, end: number): Promise<Uint8Array>;
  /** The whole file. @throws CheckpointError `checkpoint/too-large` beyond `maxBytes` (default `DEFAULT_MAX_BYTES`) */
  readAll(file: string, maxBytes?: number): Promise<Uint8Array>;
  /** Fetches a file anew whose contents proved damaged, if what was read is an old copy. False: that cannot help. */
  renew?(file: string): Promise<boolean>;
  /** Ends what is under way and frees file handles. The source cannot be used afterwards. */
  close?(): Promise<void>;
}

/** Limit of `readAll`: 256 MB, well above any config, index or tokenizer. */
export const DEFAULT_MAX_BYTES = 256 * 2 ** 20;

/**
 * Refuses a file name that is not a plain relative path: "..", absolute, a URL or drive letter, a backslash. `remedy` says
 * what to do, which depends on where the name comes from.
 * @throws CheckpointError `checkpoint/unsafe-name`
 */
export function checkFileName(
  file: string,
  label: string,
  remedy = 'Give the name of a file in that folder, such as "run/model.safetensors".',
): void {
  const segments = file.split("/");
  const leaves = segments.some((segment) => segment === "" || segment === "." || segment === "..");
  // A colon makes a URL, a drive letter or an alternate stream; a backslash is a separator on Windows.
  const hasSpecial = [...file].some((char) => char === "\\" || char === ":" || char < " ");
  if (!leaves && !hasSpecial) return;
  throw new CheckpointError(
    "checkpoint/unsafe-name",
    `${label}: the file name ${JSON.stringify(file)} is not a plain path inside the model's folder. ${remedy}`,
  );
}

/** @throws CheckpointError `checkpoint/range` unless 0 <= start <= end <= size, all integers. */
export function checkRange(file: string, start: number, end: number, size: number): void {
  const valid = Number.isSafeInteger(start) && Number.isSafeInteger(end) && 0 <= start && start <= end && end <= size;
  if (valid) return;
  throw new CheckpointError(
    "checkpoint/range",
    `${file}: bytes ${start} to ${end} were asked for, but the file has ${size}. It may be truncated: download it again.`,
  );
}

/** The error of every source for a file it does not have. */
export function notFound(file: string, label: string, options?: ErrorOptions): CheckpointError {
  return new CheckpointError(
    "checkpoint/not-found",
    `${label} has no file ${file}. Check the name, and that the download is complete.`,
    options,
  );
}

/** The error for what is read after `close()`. */
export function closedError(label: string): CheckpointError {
  return new CheckpointError("checkpoint/closed", `${label} was read after it was closed. Open it again.`);
}

/** `readAll` for sources with nothing better than size and range. */
export async function readWhole(source: CheckpointSource, file: string, maxBytes: number): Promise<Uint8Array> {
  const size = await source.size(file);
  checkWholeSize(file, size, maxBytes);
  return source.read(file, 0, size);
}

/** @throws CheckpointError `checkpoint/too-large` */
export function checkWholeSize(file: string, size: number, maxBytes: number): void {
  if (size <= maxBytes) return;
  throw new CheckpointError(
    "checkpoint/too-large",
    `${file} has ${size} bytes; a file read as a whole may have ${maxBytes}. Check that it is the right file.`,
  );
}
