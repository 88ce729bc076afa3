/**
 * A GGUF file, or the parts of a split one, as the contents of a checkpoint like any other: tensors under Hugging Face's
 * names, and `config.json`, `tokenizer.json` and what belongs to them, made of the metadata. Only headers are read at once.
 */
import { CheckpointError } from "../../errors.ts";
import type { Contents } from "../contents.ts";
import { renewing } from "../renewing.ts";
import type { CheckpointSource } from "../source.ts";
import type { TensorInfo } from "../tensor-info.ts";
import { ARCHITECTURES, type Architecture, familyTensor, moduleOf, SETTING_TENSORS } from "./architectures.ts";
import { ggufConfig } from "./config.ts";
import { type GgufHeader, HeaderGoesOn, parseGguf } from "./header.ts";
import { type InFile, type Placed, rowReader, weightsOf } from "./read-rows.ts";
import { ggufTokenizer } from "./tokenizer.ts";

/** Read at once; of a header that goes on, four times as much. Vocabularies take some megabytes. */
const FIRST_READ_BYTES = 256 << 10;
/** The largest vocabularies take some 20 MB. */
const MOST_HEADER_BYTES = 256 << 20;
const SPLIT_NAME = /^(.*)-(\d{5})-of-(\d{5})\.gguf$/;

type Metadata = GgufHeader["metadata"];

/**
 * Opens a GGUF file of a source, with the other parts of a split one.
 * @throws CheckpointError for a damaged header or a missing part
 */
export async function openGguf(source: CheckpointSource, file: string): Promise<Contents> {
  const parts = partsOf(source, file);
  const headers = new Map<string, GgufHeader>();
  for (const part of parts) {
    if (parts.length > 1 && !(await source.exists(part))) {
      const message = `${source.label}: the part ${part} of ${file} is missing. Download it too.`;
      throw new CheckpointError("checkpoint/missing-shard", message);
    }
    headers.set(part, await readGgufHeader(source, part));
  }
  const { metadata } = headers.get(file) as GgufHeader;
  checkSplit(metadata, [...headers.values()], file, source.label);
  const placed = placeAll(headers, metadata, source.label);
  const label = `${source.label.replace(/\/$/, "")}/${file}`;
  return contentsOf(source, label, metadata, placed);
}

function contentsOf(source: CheckpointSource, label: string, metadata: Metadata, placed: readonly Placed[]): Contents {
  const weights = placed.filter(({ name }) => !SETTING_TENSORS.has(name));
  const byName = new Map(placed.map((tensor) => [tensor.info.name, tensor]));
  const read = rowReader(source, byName);
  const floats = async (name: string) => {
    const { info, type } = byName.get(name) as Placed;
    const stored = await read(info, 0, info.byteLength);
    return new Float32Array(weightsOf({ type, minus: 0 }, stored).buffer);
  };
  const shapes = new Map(placed.map(({ name, shape }) => [name, shape]));
  return {
    label,
    everyTensorCounts: true,
    tensors: new Map(weights.map(({ info }) => [info.name, info])),
    metadata: singleValues(metadata),
    absent: new Map(),
    read,
    async json(file) {
      if (file === "config.json") return ggufConfig({ label, metadata, shapes, floats });
      return ggufTokenizer({ label, metadata }, file, source);
    },
  };
}

/** Metadata as text, without lists and the long texts of chat templates. */
function singleValues(metadata: Metadata): Record<string, string> {
  const single = [...metadata].filter(([key, value]) => !Array.isArray(value) && !key.includes("chat_template"));
  return Object.fromEntries(single.map(([key, value]) => [key, String(value)]));
}

/** The files of a split model, from the name of the first; the file alone otherwise. */
function partsOf(source: CheckpointSource, file: string): string[] {
  const [, stem, number, count] = SPLIT_NAME.exec(file) ?? [];
  if (stem === undefined || Number(count) <= 1) return [file];
  const name = (part: number) => `${stem}-${`${part}`.padStart(5, "0")}-of-${count}.gguf`;
  if (Number(number) !== 1) {
    const message = `${source.label}: ${file} is a later part of a split model. Name the first, ${name(1)}.`;
    throw new CheckpointError("checkpoint/gguf", message);
  }
  return Array.from({ length: Number(count) }, (_, i) => name(i + 1));
}

/** What `split.*` of the first part says of all of them. */
function checkSplit(metadata: Metadata, headers: readonly GgufHeader[], file: string, label: string): void {
  const found: [string, number][] = [
    ["split.count", headers.length],
    ["split.tensors.count", headers.reduce((sum, { tensors }) => sum + tensors.length, 0)],
  ];
  for (const [key, count] of found) {
    const stated = metadata.get(key);
    if (stated === undefined || stated === count || (stated === 0 && headers.length === 1)) continue;
    const remedy = `The parts are called NAME-00001-of-0000N.gguf: take all from one download, under those names.`;
    const message = `${label}: ${file}: ${key} is ${String(stated)}, and ${count} are there. ${remedy}`;
    throw new CheckpointError("checkpoint/missing-shard", message);
  }
}

/** @throws CheckpointError for a missing file or a broken header */
function readGgufHeader(source: CheckpointSource, file: string): Promise<GgufHeader> {
  return renewing(source, file, async () => {
    const size = await source.size(file);
    let bytes = new Uint8Array(0);
    for (let length = Math.min(size, FIRST_READ_BYTES); ; length = Math.min(size, 4 * length)) {
      bytes = joined(bytes, await source.read(file, bytes.length, length));
      const header = tryParse(bytes, size, file);
      if (header) return header;
      if (length < MOST_HEADER_BYTES) continue;
      const message = `${file}: the header is longer than ${MOST_HEADER_BYTES} bytes. The file is damaged: download it again.`;
      throw new CheckpointError("checkpoint/header-too-long", message);
    }
  });
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array<ArrayBuffer> {
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}

function tryParse(bytes: Uint8Array, size: number, file: string): GgufHeader | undefined {
  try {
    return parseGguf(bytes, size, file);
  } catch (error) {
    if (error instanceof HeaderGoesOn) return undefined;
    throw error;
  }
}

function placeAll(headers: ReadonlyMap<string, GgufHeader>, metadata: Metadata, label: string): Placed[] {
  const architecture = ARCHITECTURES.get(String(metadata.get("general.architecture")));
  const found = new Map<string, InFile>();
  for (const [file, { tensors }] of headers) {
    for (const tensor of tensors) {
      if (found.has(tensor.name)) {
        const message = `${label}: two parts hold ${tensor.name}, so they are not of one model. Take all parts from one download.`;
        throw new CheckpointError("checkpoint/duplicate-tensor", message);
      }
      found.set(tensor.name, { ...tensor, file });
    }
  }
  return [...found.values()].flatMap((tensor) => place(tensor, found, architecture, metadata));
}

/** A tensor of the file as those of Hugging Face: one, or of experts one each; none where it is a part of another. */
function place(
  tensor: InFile,
  found: ReadonlyMap<string, InFile>,
  architecture: Architecture | undefined,
  metadata: Metadata,
): Placed[] {
  const family = architecture && familyTensor(architecture, tensor.name);
  if (!architecture || !family) return [placeOne(tensor, { name: tensor.name }, architecture, metadata)];
  const { turn, isTurned, isOneRow } = family;
  const other = turn && found.get(turn.other);
  if (turn?.isOdd && other) return [];
  if (family.name.includes("{e}")) {
    const each = expertsOf(tensor).entries();
    return [...each].map(([e, expert]) =>
      placeOne(expert, { name: family.name.replace("{e}", `${e}`) }, architecture, metadata),
    );
  }
  const placed = placeOne(tensor, { name: family.name, ...(isTurned && { isTurned }) }, architecture, metadata);
  const shape = isOneRow && tensor.shape.length === 1 ? [1, ...tensor.shape] : tensor.shape;
  return [other ? byTurns(placed, other) : { ...placed, info: { ...placed.info, shape } }];
}

/** The matrices of a tensor, one after the other. */
function expertsOf(tensor: InFile): InFile[] {
  const [count = 1, ...shape] = tensor.shape;
  const bytes = (tensor.byteEnd - tensor.byteStart) / count;
  return Array.from({ length: count }, (_, expert) => {
    const byteStart = tensor.byteStart + expert * bytes;
    return { ...tensor, shape, byteStart, byteEnd: byteStart + bytes };
  });
}

/** Gate and up of experts, [expert, row, ..], as one tensor whose rows are theirs in turn. */
function byTurns(even: Placed, odd: InFile): Placed {
  if (even.type !== odd.type || String(even.shape) !== String(odd.shape)) {
    const [a, b] = [even, odd].map(({ name, type, shape }) => `${name} is ${type} [${shape.join(", ")}]`);
    throw new CheckpointError(
      "checkpoint/shape",
      `${even.file}: ${a}, and ${b}: the model has them as one tensor. Quantize the model anew with one type for both.`,
    );
  }
  const [experts = 1, rows = 1, ...inner] = even.shape;
  const info = { ...even.info, shape: [experts, 2 * rows, ...inner], byteLength: 2 * even.info.byteLength };
  return { ...even, info, odd };
}

function placeOne(
  tensor: InFile,
  { name: familyName, isTurned }: Pick<TensorInfo, "name" | "isTurned">,
  architecture: Architecture | undefined,
  metadata: Metadata,
): Placed {
  const { name, type, shape, file, byteStart, byteEnd } = tensor;
  const minus = architecture?.normsPlusOne && /norm\.weight$/.test(name) ? 1 : 0;
  const info: TensorInfo = {
    name: familyName,
    ...{ dtype: minus ? "F32" : type, shape, file, byteStart, byteEnd },
    byteLength: minus ? shape.reduce((product, size) => product * size, 4) : byteEnd - byteStart,
    ...(minus && { storedAs: type }),
    ...(isTurned && { isTurned }),
  };
  const { module } = moduleOf(name);
  const pairedHeads = architecture?.pairedRows?.includes(module) ? headsOf(module, shape, metadata) : 0;
  return { ...tensor, info, minus, pairedHeads };
}

/** Heads of a matrix of queries or keys; 0 where they do not share its rows in pairs, which the config's check reports. */
function headsOf(module: string, [rows = 0]: readonly number[], metadata: Metadata): number {
  const key = `${String(metadata.get("general.architecture"))}.attention.head_count`;
  const heads = (module.endsWith("attn_k") ? metadata.get(`${key}_kv`) : undefined) ?? metadata.get(key);
  const count = Number(Array.isArray(heads) ? heads[0] : heads);
  return count > 0 && rows % (2 * count) === 0 ? count : 0;
}
