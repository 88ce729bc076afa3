/**
 * Blocks of GGUF: each type is packed from known integers and scales by the layout that ggml's structs state, and read
 * back. The files of test/fixtures/gguf, which ggml wrote, are the second oracle.
 */
import { describe, expect, it } from "vitest";
import { f32ToF16 } from "../../../src/checkpoint/dtype.ts";
import { BLOCK_TYPES, type BlockTypeName, OTHER_TYPES } from "../../../src/checkpoint/gguf/blocks.ts";

const NAMES = Object.keys(BLOCK_TYPES) as BlockTypeName[];

function read(name: BlockTypeName, bytes: number[]): number[] {
  const type = BLOCK_TYPES[name];
  expect(bytes.length % type.bytes).toBe(0);
  const out = new Float32Array((bytes.length / type.bytes) * type.weights);
  type.dequantise(Uint8Array.from(bytes), out);
  // ... + 0 makes a zero of -0, which depends on where the sign of a product comes from.
  return [...out].map((value) => value + 0);
}

const half = (value: number): number[] => {
  const code = f32ToF16(Float32Array.of(value))[0] as number;
  return [code & 255, code >>> 8];
};
const range = <T>(count: number, make: (i: number) => T): T[] => Array.from({ length: count }, (_, i) => make(i));
const bit = (value: number, i: number): number => (value >>> i) & 1;
/** Integers below `levels` in no order a layout could share. */
const mixed = (levels: number, seed: number) => (i: number) => (i * 7 + ((i * i) >> 3) + seed) % levels;
/** Low halves are weights 0 to 15, high halves 16 to 31. */
const pairs32 = (q: (i: number) => number): number[] => range(16, (i) => (q(i) & 15) | ((q(i + 16) & 15) << 4));
const fifths32 = (q: (i: number) => number): number[] =>
  range(4, (byte) => range(8, (i) => bit(q(8 * byte + i), 4) << i).reduce((a, b) => a | b));

/** The twelve bytes of eight six-bit scales and minima that Q4_K and Q5_K share. */
function packScales(scale: number[], minimum: number[]): number[] {
  const at = (list: number[], i: number) => list[i] as number;
  return [
    ...range(4, (g) => at(scale, g) | ((at(scale, g + 4) >>> 4) << 6)),
    ...range(4, (g) => at(minimum, g) | ((at(minimum, g + 4) >>> 4) << 6)),
    ...range(4, (g) => (at(scale, g + 4) & 15) | ((at(minimum, g + 4) & 15) << 4)),
  ];
}

describe("types of 32 weights a block", () => {
  const q4 = mixed(16, 3);
  const q5 = mixed(32, 5);
  const q8 = (i: number) => mixed(256, 9)(i) - 128;

  it("reads Q4_0 as d (q - 8)", () => {
    expect(read("Q4_0", [...half(0.25), ...pairs32(q4)])).toEqual(range(32, (i) => 0.25 * (q4(i) - 8)));
  });

  it("reads Q4_1 as d q + m", () => {
    expect(read("Q4_1", [...half(0.25), ...half(-3), ...pairs32(q4)])).toEqual(range(32, (i) => 0.25 * q4(i) - 3));
  });

  it("reads Q5_0 as d (q - 16), the fifth bits apart", () => {
    const bytes = [...half(-0.5), ...fifths32(q5), ...pairs32(q5)];
    expect(read("Q5_0", bytes)).toEqual(range(32, (i) => -0.5 * (q5(i) - 16)));
  });

  it("reads Q5_1 as d q + m", () => {
    const bytes = [...half(0.5), ...half(7), ...fifths32(q5), ...pairs32(q5)];
    expect(read("Q5_1", bytes)).toEqual(range(32, (i) => 0.5 * q5(i) + 7));
  });

  it("reads Q8_0 as d times a signed byte, block after block", () => {
    const block = (d: number) => [...half(d), ...range(32, (i) => q8(i) & 255)];
    expect(read("Q8_0", [...block(0.125), ...block(2)])).toEqual([
      ...range(32, (i) => 0.125 * q8(i)),
      ...range(32, (i) => 2 * q8(i)),
    ]);
  });

  it("reads MXFP4 as a power of two times a float of four bits", () => {
    const values = [0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6];
    expect(read("MXFP4", [129, ...pairs32(q4)])).toEqual(range(32, (i) => 4 * (values[q4(i)] as number)));
    expect(read("MXFP4", [0, ...pairs32(() => 1)])[0]).toBe(2 ** -128);
  });
});

describe("types of 256 weights a block", () => {
  const scale = [1, 63, 17, 34, 48, 5, 62, 33];
  const minimum = [60, 2, 31, 16, 7, 55, 20, 47];
  const scaleOf = (i: number) => scale[i >>> 5] as number;
  const minimumOf = (i: number) => minimum[i >>> 5] as number;
  /** Byte l of a run of 32: the halves of groups 2 j and 2 j + 1. */
  const pairs256 = (q: (i: number) => number) =>
    range(128, (i) => {
      const first = 64 * (i >>> 5) + (i & 31);
      return (q(first) & 15) | ((q(first + 32) & 15) << 4);
    });
  /** Two low bits of four groups of 32 in a byte, for each half of 128. */
  const twos256 = (q: (i: number) => number) =>
    range(64, (i) => range(4, (j) => (q(128 * (i >>> 5) + 32 * j + (i & 31)) & 3) << (2 * j)).reduce((a, b) => a | b));

  it("reads Q2_K", () => {
    const q = mixed(4, 1);
    const scales = range(16, (g) => ((3 * g + 1) & 15) | (((5 * g + 2) & 15) << 4));
    const expected = range(256, (i) => {
      const g = i >>> 4;
      return 0.5 * ((3 * g + 1) & 15) * q(i) - 0.25 * ((5 * g + 2) & 15);
    });
    expect(read("Q2_K", [...scales, ...twos256(q), ...half(0.5), ...half(0.25)])).toEqual(expected);
  });

  it("reads Q3_K", () => {
    const q = mixed(8, 2);
    const six = range(16, (g) => (11 * g + 5) & 63);
    const high = range(32, (l) => range(8, (j) => bit(q(32 * j + l), 2) << j).reduce((a, b) => a | b));
    const scales = [
      ...range(8, (g) => ((six[g] as number) & 15) | (((six[g + 8] as number) & 15) << 4)),
      ...range(4, (b) => range(4, (j) => ((six[4 * j + b] as number) >>> 4) << (2 * j)).reduce((x, y) => x | y)),
    ];
    const expected = range(256, (i) => 0.25 * ((six[i >>> 4] as number) - 32) * (q(i) - 4));
    expect(read("Q3_K", [...high, ...twos256(q), ...scales, ...half(0.25)])).toEqual(
      expected.map((value) => value + 0),
    );
  });

  it("reads Q4_K", () => {
    const q = mixed(16, 4);
    const bytes = [...half(0.5), ...half(0.125), ...packScales(scale, minimum), ...pairs256(q)];
    expect(read("Q4_K", bytes)).toEqual(range(256, (i) => 0.5 * scaleOf(i) * q(i) - 0.125 * minimumOf(i)));
  });

  it("reads Q5_K", () => {
    const q = mixed(32, 6);
    const fifths = range(32, (l) => range(8, (g) => bit(q(32 * g + l), 4) << g).reduce((a, b) => a | b));
    const bytes = [...half(0.5), ...half(0.125), ...packScales(scale, minimum), ...fifths, ...pairs256(q)];
    expect(read("Q5_K", bytes)).toEqual(range(256, (i) => 0.5 * scaleOf(i) * q(i) - 0.125 * minimumOf(i)));
  });

  it("reads Q6_K", () => {
    const q = mixed(64, 8);
    const signed = range(16, (g) => 37 * g - 128 - 256 * Math.floor((37 * g) / 256));
    /** Groups 0 and 1 of a half are the low halves of its 64 bytes, groups 2 and 3 the high ones. */
    const low = range(128, (i) => {
      const first = 128 * (i >>> 6) + (i & 63);
      return (q(first) & 15) | ((q(first + 64) & 15) << 4);
    });
    const bytes = [...low, ...twos256((i) => q(i) >>> 4), ...signed.map((v) => v & 255), ...half(0.25)];
    const expected = range(256, (i) => 0.25 * (signed[i >>> 4] as number) * (q(i) - 32));
    expect(read("Q6_K", bytes)).toEqual(expected.map((value) => value + 0));
  });
});

describe("plain floats and the table", () => {
  it("reads F32, F16 and BF16", () => {
    expect(read("F32", [0, 0, 192, 63])).toEqual([1.5]);
    expect(read("F16", half(-2.5))).toEqual([-2.5]);
    expect(read("BF16", [192, 63])).toEqual([1.5]);
  });

  it("gives each number one name", () => {
    const ids = [...NAMES.map((name) => BLOCK_TYPES[name].id), ...OTHER_TYPES.keys()];
    expect(new Set(ids).size).toBe(ids.length);
  });

  it.each(NAMES.filter((name) => BLOCK_TYPES[name].weights > 1))("refuses part of a block of %s", (name) => {
    const { bytes, weights, dequantise } = BLOCK_TYPES[name];
    expect(() => dequantise(new Uint8Array(bytes - 1), new Float32Array(weights))).toThrow(RangeError);
    expect(() => dequantise(new Uint8Array(bytes), new Float32Array(weights - 1))).toThrow(RangeError);
  });
});
