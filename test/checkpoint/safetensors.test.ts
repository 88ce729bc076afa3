/** Every rule of the format: what must be accepted, what must be refused, and that nothing else ever happens. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import {
  bytesPerElement,
  DTYPES,
  type Dtype,
  parseHeader,
  streamSafetensors,
  type TensorEntry,
  writeSafetensors,
} from "../../src/checkpoint/index.ts";
import { CheckpointError } from "../../src/errors.ts";
import { checkpointError, FIXTURE, FIXTURE_FOLDER, fileWithHeader, seededRandom } from "./support.ts";

const FILE = "weights/broken.safetensors";
const parse = (file: Uint8Array, length = file.length) => parseHeader(file, length, FILE);

function tensor(offsets: unknown, shape: unknown = [2], dtype: unknown = "F32"): string {
  return JSON.stringify({ dtype, shape, data_offsets: offsets });
}

describe("parseHeader accepts, as safetensors 0.8 does,", () => {
  it.each([
    ["a header without tensors", "{}", 0],
    ["padding spaces", "{}      ", 0],
    ["padding with newlines, tabs and carriage returns", "{}\n\t\r\n", 0],
    ["white space before the header", " \n{}", 0],
    ["metadata that is null", `{"__metadata__":null,"a":${tensor([0, 8])}}`, 8],
    ["empty metadata", '{"__metadata__":{}}', 0],
    ["a field it does not know", '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"note":{}}}', 8],
    ["an empty name", `{"":${tensor([0, 8])}}`, 8],
    ["a tensor at an odd offset", `{"a":${tensor([0, 1], [1], "U8")},"b":${tensor([1, 9])}}`, 9],
    ["types it cannot read", `{"a":${tensor([0, 16], [2], "C64")},"b":${tensor([16, 17], [2], "F4")}}`, 17],
    ["white space inside", '{ "a" :\n{"dtype":"F32", "shape":[2],\t"data_offsets":[0,8]} }', 8],
    ["a scalar", `{"a":${tensor([0, 4], [])}}`, 4],
    ["a tensor of no elements", `{"a":${tensor([0, 0], [0, 7])}}`, 0],
    [
      "tensors of no elements between others",
      `{"a":${tensor([0, 8])},"b":${tensor([8, 8], [0])},"c":${tensor([8, 16])}}`,
      16,
    ],
    ["tensors out of order in the header", `{"b":${tensor([8, 16])},"a":${tensor([0, 8])}}`, 16],
    ["metadata", `{"__metadata__":{"format":"pt"},"a":${tensor([0, 8])}}`, 8],
    ["names that need escapes", `{"a\\"}{\\\\":${tensor([0, 8])},"a\\"}{":${tensor([8, 16])}}`, 16],
    ["the name __proto__", `{"__proto__":${tensor([0, 8])}}`, 8],
    ["equal keys in different objects", `{"shape":${tensor([0, 8])}}`, 8],
    ["a value equal to a key", `{"__metadata__":{"a":"a","b":"a"},"a":${tensor([0, 8])}}`, 8],
    // Beyond safetensors 0.8, which knows every type it has heard of, and no other.
    ["a type nobody knows", `{"a":${tensor([0, 5], [2], "F33")}}`, 5],
  ])("%s", (_what, header, dataBytes) => {
    const { tensors, dataStart } = parse(fileWithHeader(header, dataBytes));
    const covered = tensors.reduce((sum, { byteStart, byteEnd }) => sum + byteEnd - byteStart, dataStart);
    expect(covered).toBe(8 + header.length + dataBytes);
  });

  it("gives tensors in the order of their bytes, with offsets from the start of the file", () => {
    const header = `{"b":${tensor([8, 16])},"__metadata__":{"k":"v"},"a":${tensor([0, 8])}}`;
    const start = 8 + header.length;
    expect(parse(fileWithHeader(header, 16))).toEqual({
      tensors: [
        { name: "a", dtype: "F32", shape: [2], byteStart: start, byteEnd: start + 8 },
        { name: "b", dtype: "F32", shape: [2], byteStart: start + 8, byteEnd: start + 16 },
      ],
      metadata: { k: "v" },
      dataStart: start,
    });
  });
});

describe("parseHeader refuses, as safetensors 0.8 does,", () => {
  it.each([
    ["invalid JSON", "{,}", 0, "header-json"],
    ["an array", "[]", 0, "header-json"],
    ["null", "null", 0, "header-json"],
    ["a byte order mark", "\ufeff{}", 0, "header-json"],
    ["padding that JSON does not take for white space: a form feed", "{}\f", 0, "header-json"],
    ["zeros", "{}\0\0", 0, "header-json"],
    ["a no-break space", "{}\u00a0", 0, "header-json"],
    ["a second object", "{}{}", 0, "header-json"],
    ["a comma at the end", `{"a":${tensor([0, 8])},}`, 8, "header-json"],
    ["NaN", '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"note":NaN}}', 8, "header-json"],
    ["a raw line break in a name", `{"a\n":${tensor([0, 8])}}`, 8, "header-json"],
    ["a tensor that is null", '{"a":null}', 0, "header-json"],
    ["an empty header", "", 0, "header-json"],
    ["a tensor that is no object", '{"a":[1]}', 0, "header-json"],
    ["metadata twice", '{"__metadata__":{},"__metadata__":{}}', 0, "duplicate-key"],
    ["a field twice", '{"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}', 8, "duplicate-key"],
    ["metadata that is no object", '{"__metadata__":"pt"}', 0, "metadata"],
    ["metadata that holds a number", '{"__metadata__":{"steps":7}}', 0, "metadata"],
    ["metadata that holds null", '{"__metadata__":{"k":null}}', 0, "metadata"],
    ["a dtype that is null", `{"a":${tensor([0, 8], [2], null)}}`, 8, "dtype"],
    ["a missing dtype", '{"a":{"shape":[2],"data_offsets":[0,8]}}', 8, "dtype"],
    ["a missing shape", '{"a":{"dtype":"F32","data_offsets":[0,8]}}', 8, "shape"],
    ["a negative size", `{"a":${tensor([0, 8], [-2])}}`, 8, "shape"],
    ["a fractional size", `{"a":${tensor([0, 8], [2.5])}}`, 8, "shape"],
    ["a shape whose product overflows", `{"a":${tensor([0, 8], [2 ** 40, 2 ** 40])}}`, 8, "wrong-size"],
    ["missing offsets", '{"a":{"dtype":"F32","shape":[2]}}', 8, "offsets"],
    ["three offsets", `{"a":${tensor([0, 8, 8])}}`, 8, "offsets"],
    ["a negative offset", `{"a":${tensor([-8, 0])}}`, 8, "offsets"],
    ["an end before the beginning", `{"a":${tensor([8, 0])}}`, 8, "offsets"],
    ["a size that is not shape x dtype", `{"a":${tensor([0, 12])}}`, 12, "wrong-size"],
    ["a hole at the start", `{"a":${tensor([4, 12])}}`, 12, "hole"],
    ["a hole in the middle", `{"a":${tensor([0, 8])},"b":${tensor([12, 20])}}`, 20, "hole"],
    ["bytes after the last tensor", `{"a":${tensor([0, 8])}}`, 9, "hole"],
    ["an overlap", `{"a":${tensor([0, 8])},"b":${tensor([4, 12])}}`, 12, "overlap"],
    ["one place for two tensors", `{"a":${tensor([0, 8])},"b":${tensor([0, 8])}}`, 8, "overlap"],
    ["a tensor of no elements inside another", `{"a":${tensor([0, 8])},"b":${tensor([4, 4], [0])}}`, 8, "overlap"],
    ["a size in quotes", `{"a":${tensor([0, 8], ["2"])}}`, 8, "shape"],
    ["minus zero", '{"a":{"dtype":"F32","shape":[-0],"data_offsets":[0,0]}}', 0, "shape"],
    ["a truncated file", `{"a":${tensor([0, 8])}}`, 7, "truncated"],
    // Beyond safetensors 0.8, which takes the last of two keys, a list for an object, and sizes up to 2^64.
    ["a tensor twice", `{"a":${tensor([0, 8])},"a":${tensor([0, 8])}}`, 8, "duplicate-key"],
    ["a tensor twice, once escaped", `{"a":${tensor([0, 8])},"\\u0061":${tensor([0, 8])}}`, 8, "duplicate-key"],
    ["a metadata key twice", '{"__metadata__":{"k":"1","k":"2"}}', 0, "duplicate-key"],
    ["a tensor described by a list", '{"a":["F32",[2],[0,8]]}', 8, "header-json"],
    ["a size beyond the exact integers", `{"a":${tensor([0, 0], [0, 2 ** 53])}}`, 0, "shape"],
  ])("%s", async (_what, header, dataBytes, code) => {
    const error = await checkpointError(() => parse(fileWithHeader(header, dataBytes)));
    expect(error.code).toBe(`checkpoint/${code}`);
    expect(error.message).toContain(FILE);
  });

  it("a header of invalid UTF-8", async () => {
    const file = fileWithHeader('{"x":1}');
    file[10] = 0xff;
    expect((await checkpointError(() => parse(file))).message).toMatch(/UTF-8/);
  });

  it("names the tensor", async () => {
    const error = await checkpointError(() => parse(fileWithHeader(`{"wte.weight":${tensor([0, 12])}}`, 12)));
    expect(error.message).toMatch(/"wte.weight" occupies 12 bytes, but \[2\] of F32 takes 8/);
  });

  it("files too short for the length field", async () => {
    for (const length of [0, 1, 7]) {
      expect((await checkpointError(() => parse(new Uint8Array(length)))).code).toBe("checkpoint/truncated");
    }
  });

  it("a header longer than 100 MB, and one longer than the file", async () => {
    const file = fileWithHeader("{}");
    const view = new DataView(file.buffer);
    view.setBigUint64(0, 100_000_001n, true);
    expect((await checkpointError(() => parse(file, 2 ** 40))).code).toBe("checkpoint/header-too-long");
    view.setBigUint64(0, 3n, true);
    expect((await checkpointError(() => parse(file))).code).toBe("checkpoint/truncated");
  });

  it("a Git LFS pointer, and says what to do", async () => {
    const pointer = new TextEncoder().encode("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n");
    expect((await checkpointError(() => parse(pointer))).message).toMatch(/git lfs pull/);
  });

  it("random damage with a CheckpointError that names the file, and with nothing else", () => {
    const valid = new Uint8Array(readFileSync(join(FIXTURE_FOLDER, FIXTURE)));
    const random = seededRandom(1);
    const headerEnd = parse(valid).dataStart;
    let refused = 0;
    for (let round = 0; round < 2000; round++) {
      let file = valid.slice();
      for (let flips = 1 + Math.floor(random() * 3); flips > 0; flips--) {
        file[Math.floor(random() * headerEnd)] = Math.floor(random() * 256);
      }
      if (random() < 0.1) file = file.subarray(0, Math.floor(random() * file.length));
      try {
        parse(file);
      } catch (error) {
        if (!(error instanceof CheckpointError)) throw error;
        expect(error.message).toContain(FILE);
        refused++;
      }
    }
    // A changed letter of a tensor's name is a different, valid file; nearly all other damage shows.
    expect(refused).toBeGreaterThan(1000);
    expect(refused).toBeLessThan(2000);
  });
});

const tensors: TensorEntry[] = DTYPES.map((dtype, i) => ({
  name: `t.${dtype}`,
  dtype,
  shape: [i, 3],
  data: new Uint8Array(i * 3 * bytesPerElement(dtype)).fill(i),
}));

describe("writeSafetensors", () => {
  it("writes what parseHeader reads, aligned for every dtype", () => {
    const file = writeSafetensors(tensors, { format: "pt" });
    const header = parse(file);
    expect(header.metadata).toEqual({ format: "pt" });
    expect(header.dataStart % 8).toBe(0);
    for (const { name, dtype, shape, byteStart, byteEnd } of header.tensors) {
      const written = tensors.find((entry) => entry.name === name);
      expect({ dtype, shape }).toEqual({ dtype: written?.dtype, shape: written?.shape });
      expect(file.slice(byteStart, byteEnd)).toEqual(written?.data);
      expect(byteStart % bytesPerElement(dtype as Dtype)).toBe(0);
    }
    expect(header.tensors.length).toBe(DTYPES.length);
  });

  it("accepts any typed array, at any offset of its buffer", () => {
    const data = new Float32Array([9, 1, 2]).subarray(1);
    const file = writeSafetensors([{ name: "a", dtype: "F32", shape: [2], data }]);
    expect([...new Float32Array(file.slice(-8).buffer)]).toEqual([1, 2]);
  });

  it("writes odd names and an empty file", () => {
    const names = ["__proto__", 'quote"', "new\nline", "é", "7"];
    const entries = names.map((name) => ({ name, dtype: "U8" as const, shape: [1], data: new Uint8Array([1]) }));
    expect(new Set(parse(writeSafetensors(entries)).tensors.map(({ name }) => name))).toEqual(new Set(names));
    expect(parse(writeSafetensors([])).tensors).toEqual([]);
  });

  it.each([
    ["two tensors of one name", ["a", "a"], 4, /two of that name/],
    ["the reserved name", ["__metadata__"], 4, /reserves/],
    ["data of the wrong size", ["a"], 5, /5 bytes, but \[1\] of F32 takes 4/],
  ])("refuses %s", (_what, names, bytes, message) => {
    const entries = names.map((name) => ({ name, dtype: "F32" as const, shape: [1], data: new Uint8Array(bytes) }));
    expect(() => writeSafetensors(entries)).toThrow(message);
  });

  it.each([[[-1]], [[1.5]], [[2 ** 40, 2 ** 40]]])("refuses the shape %j", (shape) => {
    const entry = { name: "a", dtype: "F32" as const, shape, data: new Uint8Array(4) };
    expect(() => writeSafetensors([entry])).toThrow(/not a shape/);
  });
});

describe("streamSafetensors", () => {
  it("yields the bytes of writeSafetensors, asking for one tensor at a time", async () => {
    let pending = 0;
    const lazy = tensors.map((entry) => ({
      ...entry,
      data: async () => {
        expect(++pending).toBe(1);
        return entry.data;
      },
    }));
    const chunks: Uint8Array[] = [];
    for await (const chunk of streamSafetensors(lazy, { format: "pt" })) {
      chunks.push(chunk);
      pending = 0;
    }
    expect(chunks.length).toBe(1 + tensors.length);
    expect(new Uint8Array(Buffer.concat(chunks))).toEqual(writeSafetensors(tensors, { format: "pt" }));
  });
});
