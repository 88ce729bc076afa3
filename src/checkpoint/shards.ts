/**
 * A checkpoint in several files ("shards") with an index that says which tensor is in which. What counts is what the
 * shards hold: an index may be older than they are, and name tensors that are no longer stored.
 */
import { CheckpointError } from "../errors.ts";
import type { Contents } from "./contents.ts";
import { isObject } from "./json.ts";
import { readJsonFile } from "./json-file.ts";
import { readHeader } from "./read-header.ts";
import { type CheckpointSource, checkFileName } from "./source.ts";
import { sameTensor, type TensorInfo } from "./tensor-info.ts";

/**
 * The tensors of all shards that an index names.
 * @throws CheckpointError `checkpoint/index`, `checkpoint/missing-shard`, `checkpoint/duplicate-tensor` for two copies of
 *   a tensor that differ, and what a broken header of a shard throws
 */
export async function readShards(
  source: CheckpointSource,
  indexFile: string,
  onNotice: (message: string) => void,
): Promise<Contents> {
  const weightMap = await readWeightMap(source, indexFile);
  const contents: Contents = { tensors: new Map(), metadata: {}, absent: new Map() };
  const copies: string[] = [];
  for (const [shard, names] of namesByShard(weightMap)) {
    if (!(await source.exists(shard))) {
      const message = `${source.label}: the shard ${shard}, with ${names.length} tensors, is missing. Download it too.`;
      throw new CheckpointError("checkpoint/missing-shard", message);
    }
    const header = await readHeader(source, shard);
    for (const tensor of header.tensors) {
      const other = contents.tensors.get(tensor.name);
      if (other === undefined) contents.tensors.set(tensor.name, tensor);
      else copies.push(await describeCopies(source, other, tensor));
    }
    Object.assign(contents.metadata, header.metadata);
  }
  for (const [name, shard] of weightMap) if (!contents.tensors.has(name)) contents.absent.set(name, shard);
  if (copies.length > 0) onNotice(`${source.label}: stored twice, with the same values: ${copies.join(", ")}.`);
  return contents;
}

/** "NAME in FILE and FILE", for two copies that are the same. */
async function describeCopies(source: CheckpointSource, a: TensorInfo, b: TensorInfo): Promise<string> {
  const same = await sameTensor(a, b, ({ file, byteStart }, start, end) =>
    source.read(file, byteStart + start, byteStart + end),
  );
  const where = `${a.name} in ${a.file} and ${b.file}`;
  if (same) return where;
  const message = `${source.label}: tensor ${where}: the two differ, so the shards are not of one model. Take index and shards from one download.`;
  throw new CheckpointError("checkpoint/duplicate-tensor", message);
}

const SHARDS_STAY = "Shard names must stay in the folder: do not use this checkpoint unless you can correct its index.";

async function readWeightMap(source: CheckpointSource, file: string): Promise<Map<string, string>> {
  const index = await readJsonFile(source, file);
  const weightMap = isObject(index) ? index.weight_map : undefined;
  if (!isObject(weightMap)) throw indexError(source, file, "has no weight_map object");
  const shards = new Map<string, string>();
  for (const [name, shard] of Object.entries(weightMap)) {
    if (typeof shard !== "string") throw indexError(source, file, `does not name the shard of tensor ${name}`);
    checkFileName(shard, `${source.label}: ${file}`, SHARDS_STAY);
    shards.set(name, shard);
  }
  if (shards.size === 0) throw indexError(source, file, "names no tensors");
  return shards;
}

function indexError(source: CheckpointSource, file: string, detail: string): CheckpointError {
  const message = `${source.label}: ${file} ${detail}. The index and its shards belong to one download: take both again.`;
  return new CheckpointError("checkpoint/index", message);
}

function namesByShard(weightMap: Map<string, string>): Map<string, string[]> {
  const shards = new Map<string, string[]>();
  for (const [name, shard] of weightMap) {
    const names = shards.get(shard);
    if (names === undefined) shards.set(shard, [name]);
    else names.push(name);
  }
  return shards;
}
