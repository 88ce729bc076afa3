/** Headers of GGUF: what is read, and each way to be damaged by its code and with what it names. */
import { describe, expect, it } from "vitest";
import { HeaderGoesOn, parseGguf } from "../../../src/checkpoint/gguf/header.ts";
import { type CheckpointSource, FilesSource, openCheckpoint } from "../../../src/checkpoint/index.ts";
import { CheckpointError } from "../../../src/errors.ts";
import { type Damage, floats, type Pairs, type Written, writeGguf } from "../../support/gguf.ts";

const A = floats("a", [2, 3], [1, 2, 3, 4, 5, 6]);
const B = floats("b", [4], [7, 8, 9, 10]);
/** Makes a file much longer than its header. */
const LONG = floats("long", [2 ** 18], new Float32Array(2 ** 18));
const parse = (file: Uint8Array) => parseGguf(file, file.length, "x.gguf");
const damaged = (damage: Damage, tensors: readonly Written[] = [A, B], pairs: Pairs = {}) =>
  parse(writeGguf(pairs, tensors, damage));

function refused(code: string, names: RegExp, run: () => unknown): void {
  try {
    run();
  } catch (error) {
    expect(error).toBeInstanceOf(CheckpointError);
    expect(error).toMatchObject({ code: `checkpoint/${code}`, message: expect.stringMatching(names) });
    expect((error as Error).message).toMatch(/^x\.gguf: /);
    return;
  }
  expect.unreachable(`nothing was refused as ${code}`);
}

describe("a right header", () => {
  it.each([2, 3])("gives metadata of every type, version %i", (version) => {
    const pairs: Record<string, [number, unknown]> = {
      u8: [0, 200],
      i8: [1, -5],
      u16: [2, 60000],
      i16: [3, -300],
      u32: [4, 4e9],
      i32: [5, -7],
      f32: [6, 0.5],
      flag: [7, 1],
      text: [8, "Ġé\uFEFF"],
      list: [9, ["a", "", "c"]],
      u64: [10, 2 ** 40],
      i64: [11, -(2 ** 40)],
      f64: [12, 0.1],
    };
    const typed = Object.fromEntries(Object.entries(pairs).map(([key, [type, value]]) => [key, { type, value }]));
    const { metadata } = parse(writeGguf(typed, [], { version }));
    const expected = Object.entries(pairs).map(([key, [, value]]) => [key, key === "flag" ? true : value]);
    expect([...metadata]).toEqual(expected);
  });

  it("keeps integers that no double holds", () => {
    const bytes = writeGguf({ big: { type: 10, value: 0 } });
    bytes.set([255, 255, 255, 255, 255, 255, 255, 255], 24 + 8 + 3 + 4);
    expect(parse(bytes).metadata.get("big")).toBe(2n ** 64n - 1n);
  });

  it("gives tensors, their sizes outermost first, where they lie", () => {
    const file = writeGguf({}, [A, B]);
    const start = file.length - 64;
    expect(parse(file).tensors).toEqual([
      { name: "a", type: "F32", shape: [2, 3], byteStart: start, byteEnd: start + 24 },
      { name: "b", type: "F32", shape: [4], byteStart: start + 32, byteEnd: start + 48 },
    ]);
  });

  it("obeys general.alignment", () => {
    const file = writeGguf({ "general.alignment": 8 }, [A, B], { alignment: 8 });
    expect(parse(file).tensors.map(({ byteStart }) => byteStart - file.length)).toEqual([-40, -16]);
  });

  it("asks for more bytes wherever those at hand end", () => {
    const file = writeGguf({ key: ["a", "b"], other: true }, [A, B]);
    for (let length = 4; length < 150; length++)
      expect(() => parseGguf(file.subarray(0, length), file.length, "x.gguf")).toThrow(HeaderGoesOn);
  });
});

describe("a damaged header", () => {
  it("has the magic of another format", () => {
    refused("gguf", /begins with "GGUF", this one with "ggjt"/, () => damaged({ magic: "ggjt" }));
    refused("gguf", /git lfs pull/, () => damaged({ magic: "vers" }));
  });

  it("is of a version that cannot be read", () => {
    refused("gguf", /version 1 .*convert_hf_to_gguf/, () => damaged({ version: 1 }));
    refused("gguf", /version 4/, () => damaged({ version: 4 }));
    refused("gguf", /big-endian.*gguf-convert-endian/, () => damaged({ version: 3 << 24 }));
  });

  it("ends too soon, wherever", () => {
    const file = writeGguf({ key: ["a", "b"], other: true }, [A, B]);
    for (let length = 0; length < file.length - 16; length++)
      expect(["truncated", "metadata"]).toContain(codeOf(file.subarray(0, length)));
    expect(codeOf(file.subarray(0, file.length - 20))).toBe("truncated");
    expect(codeOf(file.subarray(0, 3))).toBe("truncated");
  });

  it("counts more than the file has room for", () => {
    refused("metadata", /tensors would be 18446744073709551615/, () => damaged({ tensorCount: 2n ** 64n - 1n }));
    refused("metadata", /pairs of metadata would be 1000000/, () => damaged({ pairCount: 1_000_000n }));
    const text = writeGguf({ key: "value" });
    text.set([255, 255, 255, 255, 255, 0, 0, 0], 24 + 8 + 3 + 4);
    refused("metadata", /bytes of the value of "key" would be 1099511627775/, () => parse(text));
    const list = writeGguf({ key: [1, 2] });
    list.set([255, 255, 255, 255, 0, 0, 0, 0], 24 + 8 + 3 + 4 + 4);
    refused("metadata", /values of "key" would be 4294967295/, () => parse(list));
  });

  it("has metadata that the format does not", () => {
    refused("metadata", /"key" has the type 13/, () => damaged({}, [], { key: { type: 13, value: 0 } }));
    refused("metadata", /"key" should be true/, () => damaged({}, [], { key: { type: 7, value: 2 } }));
    refused("metadata", /"key" is a list of lists/, () => damaged({}, [], { key: [[1]] }));
    refused("metadata", /general\.alignment is 12/, () => damaged({}, [], { "general.alignment": 12 }));
    refused("metadata", /general\.alignment is 0/, () => damaged({}, [], { "general.alignment": 0 }));
  });

  it("has a key or a tensor twice", () => {
    const twice = writeGguf({ keya: 1, keyb: 2 });
    twice[24 + 8 + 4 + 4 + 4 + 8 + 3] = "a".charCodeAt(0);
    refused("duplicate-key", /the key "keya" twice/, () => parse(twice));
    refused("duplicate-key", /tensor "a" twice/, () => damaged({}, [A, A]));
  });

  it("has a tensor of a type that is not read", () => {
    refused("dtype", /tensor "a" has the type IQ4_XS.*Q4_K/, () => damaged({ typeIds: [23, 0] }));
    refused("dtype", /tensor "b" has the type number 77/, () => damaged({ typeIds: [0, 77] }));
  });

  it("has a tensor of sizes that cannot be", () => {
    const five = { ...A, shape: [1, 1, 1, 2, 3] };
    refused("shape", /tensor "a" has 5 axes/, () => damaged({}, [five]));
    refused("shape", /tensor "a" has the sizes/, () => damaged({}, [{ ...A, shape: [2 ** 40, 2 ** 40] }]));
    refused("shape", /rows of 3, which blocks of 32 \(Q8_0\)/, () => damaged({}, [{ ...A, type: "Q8_0" }]));
  });

  it("has tensors where they cannot be", () => {
    refused("offsets", /tensor "b" begins at 33/, () => damaged({ offsets: [0, 33] }));
    refused("truncated", /tensor "b" ends at byte/, () => damaged({ offsets: [0, 64] }));
    refused("overlap", /"b" and "a" share bytes|"a" and "b" share bytes/, () => damaged({ offsets: [0, 0] }));
    expect(() => damaged({ offsets: [32, 0] })).not.toThrow();
  });

  function codeOf(file: Uint8Array): string {
    try {
      parse(file);
    } catch (error) {
      return (error as CheckpointError).code.replace("checkpoint/", "");
    }
    return expect.unreachable("a file that ends too soon was read");
  }
});

describe("a file in a source", () => {
  const source = (files: Record<string, Uint8Array>) => FilesSource.of(Object.entries(files), "here");
  const withVocabulary = writeGguf({ tokens: Array.from({ length: 40_000 }, (_, i) => `token ${i}`) }, [A, LONG]);

  it("is read no further than its header, in growing pieces", async () => {
    const reads: number[] = [];
    const inner = source({ "x.gguf": withVocabulary });
    const counting: CheckpointSource = Object.assign(Object.create(inner), {
      label: "here",
      exists: (file: string) => inner.exists(file),
      list: () => inner.list(),
      size: (file: string) => inner.size(file),
      read(file: string, start: number, end: number) {
        reads.push(end - start);
        return inner.read(file, start, end);
      },
    });
    const checkpoint = await openCheckpoint(counting);
    expect(reads).toEqual([256 << 10, 768 << 10]);
    expect([...(await checkpoint.read("a", 4, 12))]).toEqual([...A.data.subarray(4, 12)]);
    expect(reads.at(-1)).toBe(8);
    expect(checkpoint.label).toBe("here/x.gguf");
  });

  it("is one of several parts, of which all must be there", async () => {
    const split = (tensors: Written[], no: number) =>
      writeGguf({ "split.no": no, "split.count": 2, "split.tensors.count": 2 }, tensors);
    const [first, second] = ["x-00001-of-00002.gguf", "x-00002-of-00002.gguf"];
    const both = { [first as string]: split([A], 0), [second as string]: split([B], 1) };
    const checkpoint = await openCheckpoint(source(both));
    expect([...(await checkpoint.read("b"))]).toEqual([...B.data]);
    const open = (files: Record<string, Uint8Array>, file: string) => openCheckpoint(source(files), { file });
    await expect(open({ [first as string]: split([A], 0) }, first as string)).rejects.toMatchObject({
      code: "checkpoint/missing-shard",
      message: expect.stringContaining(second as string),
    });
    await expect(open(both, second as string)).rejects.toMatchObject({
      code: "checkpoint/gguf",
      message: expect.stringContaining(`Name the first, ${first}`),
    });
    await expect(open({ ...both, [second as string]: split([A], 1) }, first as string)).rejects.toMatchObject({
      code: "checkpoint/duplicate-tensor",
    });
    await expect(open({ "y.gguf": split([A], 0) }, "y.gguf")).rejects.toMatchObject({
      code: "checkpoint/missing-shard",
      message: expect.stringContaining("split.count is 2, and 1 are there"),
    });
  });

  it("is found alone in a folder, and named where there are several", async () => {
    const file = writeGguf({}, [A]);
    expect((await openCheckpoint(source({ "x.gguf": file, "mmproj-x.gguf": file }))).label).toBe("here/x.gguf");
    await expect(openCheckpoint(source({ "x.gguf": file, "y.gguf": file }))).rejects.toMatchObject({
      code: "checkpoint/no-weights",
      message: expect.stringContaining("It has x.gguf, y.gguf: name one as `file`"),
    });
  });
});
