/** Opening checkpoints: single files, shards, indices that lie, and the memory it takes to read a gigabyte. */
import { mkdir, open, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { FolderSource } from "../../src/checkpoint/folder.node.ts";
import {
  type CheckpointProgress,
  type CheckpointSource,
  FilesSource,
  openCheckpoint,
  sameTensor,
  type TensorInfo,
  writeSafetensors,
} from "../../src/checkpoint/index.ts";
import { checkpointError, inTempFolder } from "./support.ts";

function weights(...names: string[]): Uint8Array {
  return writeSafetensors(
    names.map((name, i) => ({ name, dtype: "F32", shape: [2], data: new Float32Array([i, i + 0.5]) })),
    { format: "pt" },
  );
}

function source(files: Record<string, Uint8Array | string>): FilesSource {
  const blobs = Object.entries(files).map(([name, data]) => ({ name, blob: new Blob([data as BlobPart]) }));
  return new FilesSource(blobs, "the test model");
}

const index = (weight_map: unknown) => JSON.stringify({ metadata: { total_size: 0 }, weight_map });

describe("openCheckpoint", () => {
  it("reads model.safetensors and the JSON files beside it", async () => {
    const checkpoint = await openCheckpoint(
      source({ "model.safetensors": weights("a", "b"), "config.json": '{"n":1}' }),
    );
    expect([...checkpoint.tensors.keys()]).toEqual(["a", "b"]);
    expect(checkpoint.tensors.get("b")).toMatchObject({ dtype: "F32", shape: [2], byteLength: 8 });
    expect(checkpoint).toMatchObject({ byteLength: 16, metadata: { format: "pt" }, label: "the test model" });
    expect([...new Float32Array((await checkpoint.read("b")).buffer)]).toEqual([1, 1.5]);
    expect([...new Float32Array((await checkpoint.read("b", 4)).buffer)]).toEqual([1.5]);
    expect([...new Float32Array((await checkpoint.read("b", 0, 4)).buffer)]).toEqual([1]);
    expect(await checkpoint.readJson("config.json")).toEqual({ n: 1 });
    expect(await checkpoint.readJson("generation_config.json")).toBeUndefined();
  });

  it("reads the shards of an index", async () => {
    const checkpoint = await openCheckpoint(
      source({
        "model.safetensors.index.json": index({ a: "one.safetensors", b: "two.safetensors", c: "one.safetensors" }),
        "one.safetensors": weights("a", "c"),
        "two.safetensors": weights("b"),
      }),
    );
    expect([...checkpoint.tensors.values()].map(({ name, file }) => `${name} in ${file}`)).toEqual([
      "a in one.safetensors",
      "c in one.safetensors",
      "b in two.safetensors",
    ]);
    expect([...new Float32Array((await checkpoint.read("c")).buffer)]).toEqual([1, 1.5]);
  });

  it("reads shards that hold more or less than the index says, and knows what is not there", async () => {
    const notices: string[] = [];
    const checkpoint = await openCheckpoint(
      source({
        "model.safetensors.index.json": index({ a: "one.safetensors", gone: "one.safetensors", b: "one.safetensors" }),
        "one.safetensors": weights("a", "extra", "b"),
      }),
      { onNotice: (message) => notices.push(message) },
    );
    expect(new Set(checkpoint.tensors.keys())).toEqual(new Set(["a", "b", "extra"]));
    expect([...checkpoint.absent]).toEqual([["gone", "one.safetensors"]]);
    expect(notices).toEqual([]); // whether it matters is for those to say who need the tensor
  });

  it("reads a tensor that two shards hold alike, and tells", async () => {
    const notices: string[] = [];
    const checkpoint = await openCheckpoint(
      source({
        "model.safetensors.index.json": index({ a: "one.safetensors", b: "two.safetensors" }),
        "one.safetensors": weights("a", "b"),
        "two.safetensors": weights("a", "b"),
      }),
      { onNotice: (message) => notices.push(message) },
    );
    expect([...new Float32Array((await checkpoint.read("b")).buffer)]).toEqual([1, 1.5]);
    expect(checkpoint.byteLength).toBe(16);
    expect(notices).toEqual([
      "the test model: stored twice, with the same values: a in one.safetensors and two.safetensors, b in one.safetensors and two.safetensors.",
    ]);
  });

  it("reads NaN and infinities beside the weights as Python does, and nothing else that is not JSON", async () => {
    const json = '{"a": NaN, "b": [Infinity, -Infinity], "c": "NaN, -Infinity", "d\\"Infinity": 1}';
    const files = { "model.safetensors": weights("a"), "config.json": json, "wrong.json": "[1Infinity]" };
    const checkpoint = await openCheckpoint(source({ ...files, "naan.json": "[Naan, NaN]" }));
    expect(await checkpoint.readJson("config.json")).toEqual({
      a: Number.NaN,
      b: [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY],
      c: "NaN, -Infinity",
      'd"Infinity': 1,
    });
    for (const file of ["wrong.json", "naan.json"]) {
      expect((await checkpointError(() => checkpoint.readJson(file))).code).toBe("checkpoint/json");
    }
  });

  it("opens the file it is told to", async () => {
    const files = source({ "other.safetensors": weights("x"), "model.safetensors": weights("a") });
    const checkpoint = await openCheckpoint(files, { file: "other.safetensors" });
    expect([...checkpoint.tensors.keys()]).toEqual(["x"]);
  });

  it("reads a header longer than its first read", async () => {
    const names = Array.from({ length: 2000 }, (_, i) => `blocks.${i}.${"long".repeat(20)}`);
    const checkpoint = await openCheckpoint(source({ "model.safetensors": weights(...names) }));
    expect(checkpoint.tensors.size).toBe(2000);
  });

  it("counts each byte of progress once", async () => {
    const seen: CheckpointProgress[] = [];
    const files = source({ "model.safetensors": weights("a", "b") });
    const checkpoint = await openCheckpoint(files, { onProgress: (progress) => seen.push(progress) });
    await checkpoint.read("a", 0, 4);
    await checkpoint.read("a", 4, 8);
    await checkpoint.read("a");
    await checkpoint.read("b");
    expect(seen.map(({ loaded, tensor }) => `${tensor} ${loaded}`)).toEqual(["a 4", "a 8", "a 8", "b 16"]);
    expect(seen.every(({ total }) => total === 16)).toBe(true);
  });

  it.each<[string, Record<string, Uint8Array | string>, string, RegExp]>([
    ["no weights", { "config.json": "{}" }, "no-weights", /the test model has neither/],
    ["weights of another name", { "w.safetensors": weights("a") }, "no-weights", /w\.safetensors: name one as `file`/],
    [
      "a missing shard",
      { "model.safetensors.index.json": index({ a: "one.safetensors" }) },
      "missing-shard",
      /one\.safetensors, with 1 tensors/,
    ],
    [
      "two different copies of a tensor",
      {
        "model.safetensors.index.json": index({ a: "one.safetensors", b: "two.safetensors" }),
        "one.safetensors": weights("a"),
        "two.safetensors": weights("b", "a"),
      },
      "duplicate-tensor",
      /tensor a in one\.safetensors and two\.safetensors: the two differ/,
    ],
    [
      "models in several folders",
      { "one/model.safetensors": weights("a"), "two/model.safetensors.index.json": index({}) },
      "no-weights",
      /It has one\/model\.safetensors, two\/model\.safetensors\.index\.json: name one as `file`/,
    ],
    ["an index without weight_map", { "model.safetensors.index.json": "{}" }, "index", /no weight_map/],
    ["an index that is no object", { "model.safetensors.index.json": "[]" }, "index", /no weight_map/],
    ["a shard name that is no string", { "model.safetensors.index.json": index({ a: 1 }) }, "index", /tensor a/],
    [
      "an index that is not JSON",
      { "model.safetensors.index.json": "<html>" },
      "json",
      /index\.json is not valid JSON/,
    ],
    [
      "an index with a tensor twice",
      { "model.safetensors.index.json": '{"weight_map":{"a":"one.safetensors","a":"two.safetensors"}}' },
      "json",
      /"a" occurs twice/,
    ],
    ["a truncated file", { "model.safetensors": weights("a").subarray(0, -1) }, "truncated", /model\.safetensors/],
    ["an empty file", { "model.safetensors": "" }, "truncated", /model\.safetensors/],
  ])("refuses %s", async (_what, files, code, message) => {
    const error = await checkpointError(() => openCheckpoint(source(files)));
    expect(error.code).toBe(`checkpoint/${code}`);
    expect(error.message).toMatch(message);
  });

  it.each([
    "../model.safetensors",
    "sub/../../model.safetensors",
    "/etc/passwd",
    "https://example.com/model.safetensors",
    "C:\\model.safetensors",
    "C:model.safetensors",
    "..\\model.safetensors",
    "./model.safetensors",
    "",
    "a//b",
    "a\0b",
  ])("refuses the shard name %j from every source", async (shard) => {
    const files = source({ "model.safetensors.index.json": index({ a: shard }) });
    const error = await checkpointError(() => openCheckpoint(files));
    expect(error.code).toBe("checkpoint/unsafe-name");
    expect(error.message).toContain(JSON.stringify(shard));
  });

  it("refuses tensors and ranges that are not there", async () => {
    const checkpoint = await openCheckpoint(source({ "model.safetensors": weights("a") }));
    expect((await checkpointError(() => checkpoint.read("b"))).code).toBe("checkpoint/missing-tensor");
    for (const [start, end] of [
      [0, 9],
      [-1, 4],
      [5, 4],
      [0.5, 4],
    ] as const) {
      expect((await checkpointError(() => checkpoint.read("a", start, end))).code).toBe("checkpoint/range");
    }
  });

  it("closes the source when it is closed, and when it cannot be opened", async () => {
    let closed = 0;
    const closing = (files: FilesSource): CheckpointSource => ({
      label: files.label,
      exists: (file) => files.exists(file),
      size: (file) => files.size(file),
      read: (file, start, end) => files.read(file, start, end),
      readAll: (file) => files.readAll(file),
      close: async () => {
        closed++;
      },
    });
    await (await openCheckpoint(closing(source({ "model.safetensors": weights("a") })))).close();
    expect(closed).toBe(1);
    await checkpointError(() => openCheckpoint(closing(source({ "model.safetensors": "broken" }))));
    expect(closed).toBe(2);
  });
});

describe("sameTensor", () => {
  const BYTES = 1 << 20;
  const info = (name: string, changes: Partial<TensorInfo> = {}): TensorInfo => ({
    ...{ name, dtype: "U8", shape: [BYTES], file: name, byteStart: 0, byteEnd: BYTES, byteLength: BYTES },
    ...changes,
  });

  /** Compares zeros with zeros but for the byte at `at`; also says how much was read. */
  async function compare(at?: number, other: Partial<TensorInfo> = {}): Promise<{ same: boolean; read: number }> {
    let read = 0;
    const same = await sameTensor(info("a"), info("b", other), async ({ name }, start, end) => {
      read += end - start;
      const bytes = new Uint8Array(end - start);
      if (name === "b" && at !== undefined && start <= at && at < end) bytes[at - start] = 1;
      return bytes;
    });
    return { same, read };
  }

  it("looks at every byte of both, and no further than the first piece that differs", async () => {
    expect(await compare()).toEqual({ same: true, read: 2 * BYTES });
    expect(await compare(BYTES - 1)).toEqual({ same: false, read: 2 * BYTES });
    expect(await compare(BYTES / 2)).toMatchObject({ same: false });
    expect((await compare(7)).read).toBeLessThan(BYTES / 4);
  });

  it("reads nothing of tensors of another type or shape", async () => {
    expect(await compare(undefined, { dtype: "I8" })).toEqual({ same: false, read: 0 });
    expect(await compare(undefined, { shape: [BYTES / 2, 2] })).toEqual({ same: false, read: 0 });
    expect(await compare(undefined, { shape: [BYTES, 1] })).toEqual({ same: false, read: 0 });
  });
});

/** Writes only the header and the length: the file system supplies the zeros, so a gigabyte costs nothing. */
async function makeSparse(path: string, tensorCount: number, tensorBytes: number): Promise<void> {
  const shape = [tensorBytes / 4];
  const entries = Array.from({ length: tensorCount }, (_, i) => {
    const data_offsets = [i * tensorBytes, (i + 1) * tensorBytes];
    return [`t${i}`, { dtype: "F32", shape, data_offsets }];
  });
  const json = new TextEncoder().encode(JSON.stringify(Object.fromEntries(entries)));
  const length = new Uint8Array(8);
  new DataView(length.buffer).setBigUint64(0, BigInt(json.length), true);
  const file = await open(path, "w");
  await file.write(length);
  await file.write(json);
  await file.truncate(8 + json.length + tensorCount * tensorBytes);
  await file.close();
}

describe("memory", () => {
  const MB = 2 ** 20;

  it("reads a 1 GB file in ranges of 16 MB within 200 MB", async () => {
    await inTempFolder(async (folder) => {
      await mkdir(join(folder, "model"));
      await makeSparse(join(folder, "model", "model.safetensors"), 8, 128 * MB);
      const used = () => process.memoryUsage().heapUsed + process.memoryUsage().external;
      // Above the least so far: what other tests left may be freed meanwhile.
      let least = used();
      let peak = 0;
      const checkpoint = await openCheckpoint(new FolderSource(join(folder, "model")));
      let bytes = 0;
      for (const { name, byteLength } of checkpoint.tensors.values()) {
        for (let start = 0; start < byteLength; start += 16 * MB) {
          bytes += (await checkpoint.read(name, start, start + 16 * MB)).length;
          const now = used();
          least = Math.min(least, now);
          peak = Math.max(peak, now - least);
        }
      }
      await checkpoint.close();
      expect(bytes).toBe(1024 * MB);
      expect(peak / MB).toBeLessThan(200);
      // The measure sees what is read at all: at least one range is held at a time.
      expect(peak / MB).toBeGreaterThanOrEqual(16);
    });
  }, 60_000);

  it("leaves no file handle open after close", async () => {
    await inTempFolder(async (folder) => {
      await writeFile(join(folder, "model.safetensors"), weights("a"));
      const folderSource = new FolderSource(folder);
      const checkpoint = await openCheckpoint(folderSource);
      await checkpoint.close();
      expect((await checkpointError(() => checkpoint.read("a"))).code).toBe("checkpoint/closed");
    });
  });
});
