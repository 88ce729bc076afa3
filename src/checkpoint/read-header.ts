/** The header of a safetensors file in a source. */
import { renewing } from "./renewing.ts";
import { headerLength, LENGTH_FIELD_BYTES, parseHeader } from "./safetensors.ts";
import type { CheckpointSource } from "./source.ts";
import type { TensorInfo } from "./tensor-info.ts";

/** Read at once with the length field: most headers are shorter, and then need no second request. */
const FIRST_READ_BYTES = 64 * 1024;

/** The tensors of one file, in the order of their bytes, and its metadata. */
export interface FileContents {
  tensors: TensorInfo[];
  metadata: Readonly<Record<string, string>>;
}

/** @throws CheckpointError for a missing file or a broken header */
export function readHeader(source: CheckpointSource, file: string): Promise<FileContents> {
  return renewing(source, file, () => parseHeaderOf(source, file));
}

async function parseHeaderOf(source: CheckpointSource, file: string): Promise<FileContents> {
  const size = await source.size(file);
  let bytes = await source.read(file, 0, Math.min(size, FIRST_READ_BYTES));
  const end = LENGTH_FIELD_BYTES + headerLength(bytes, size, file);
  if (end > bytes.length) bytes = await source.read(file, 0, end);
  const { tensors, metadata } = parseHeader(bytes, size, file);
  const infos = tensors.map((tensor) => ({ ...tensor, file, byteLength: tensor.byteEnd - tensor.byteStart }));
  return { tensors: infos, metadata };
}
