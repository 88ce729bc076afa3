/** The decoders and encoders against PyTorch: the fixture was written by Python's safetensors. */
import { beforeAll, describe, expect, it } from "vitest";
import { FolderSource } from "../../src/checkpoint/folder.node.ts";
import {
  bytesPerElement,
  type Checkpoint,
  DTYPES,
  type Dtype,
  f32ToBf16,
  f32ToF16,
  openCheckpoint,
  toFloat32,
  widenF8ToF16,
} from "../../src/checkpoint/index.ts";
import { FIXTURE, FIXTURE_FOLDER } from "./support.ts";

let checkpoint: Checkpoint;

beforeAll(async () => {
  checkpoint = await openCheckpoint(new FolderSource(FIXTURE_FOLDER), { file: FIXTURE });
});

async function values(name: string): Promise<Float32Array> {
  return toFloat32(await checkpoint.read(name), checkpoint.tensors.get(name)?.dtype as Dtype);
}

function bytesOf(array: ArrayBufferView): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

describe("toFloat32", () => {
  it.each(DTYPES.map((dtype) => [dtype]))("reads %s as Python wrote it", async (dtype) => {
    const expected = dtype === "BOOL" ? [0, 1, 1, 1, 1, 1] : [0, 1, 2, 3, 5, 96];
    expect(checkpoint.tensors.get(`small.${dtype}`)).toMatchObject({ dtype, shape: [2, 3] });
    expect([...(await values(`small.${dtype}`))]).toEqual(expected);
  });

  it.each(["F8_E4M3", "F8_E5M2"] as const)("gives PyTorch's value for each of the 256 codes of %s", async (dtype) => {
    expect(await values(`codes.${dtype}`)).toEqual(await values(`codes.${dtype}.as_f32`));
  });

  it("decodes every f16 and bf16 code so that encoding gives it back", () => {
    const codes = Uint16Array.from({ length: 65536 }, (_, i) => i);
    const sameOrNan = (encoded: Uint16Array, decoded: Float32Array) =>
      encoded.every((code, i) => code === i || Number.isNaN(decoded[i]));
    const f16 = toFloat32(bytesOf(codes), "F16");
    const bf16 = toFloat32(bytesOf(codes), "BF16");
    expect(f16.filter(Number.isNaN).length).toBe(2046);
    expect(bf16.filter(Number.isNaN).length).toBe(254);
    expect(sameOrNan(f32ToF16(f16), f16)).toBe(true);
    expect(sameOrNan(f32ToBf16(bf16), bf16)).toBe(true);
  });

  it("accepts bytes at an odd offset", () => {
    const padded = new Uint8Array(9);
    padded.set(bytesOf(new Float32Array([1.5, -2])), 1);
    expect([...toFloat32(padded.subarray(1), "F32")]).toEqual([1.5, -2]);
  });

  it.each(["C64", "toString"])("refuses the dtype %s, which it does not know", (dtype) => {
    expect(() => toFloat32(new Uint8Array(8), dtype)).toThrow(new RegExp(`"${dtype}", which cannot be read`));
  });

  it("refuses integers f32 cannot hold, with the number", () => {
    expect(() => toFloat32(bytesOf(new Int32Array([1, 16777217])), "I32")).toThrow(/Element 1 .* I32 .* 16777217/);
    expect(() => toFloat32(bytesOf(new BigInt64Array([2n ** 53n + 1n])), "I64")).toThrow(/9007199254740993/);
    expect([...toFloat32(bytesOf(new BigUint64Array([2n ** 63n])), "U64")]).toEqual([2 ** 63]);
  });

  it("rounds F64 but refuses one that would become infinite", () => {
    expect([...toFloat32(bytesOf(new Float64Array([0.1, Number.POSITIVE_INFINITY])), "F64")]).toEqual([
      Math.fround(0.1),
      Number.POSITIVE_INFINITY,
    ]);
    expect(() => toFloat32(bytesOf(new Float64Array([1e300])), "F64")).toThrow(/1e\+300/);
  });

  it("refuses a fraction of an element", () => {
    for (const dtype of DTYPES.filter((each) => bytesPerElement(each) > 1)) {
      expect(() => toFloat32(new Uint8Array(bytesPerElement(dtype) + 1), dtype)).toThrow(/whole number/);
    }
  });
});

describe("rounding", () => {
  it("to f16 agrees with PyTorch, ties, subnormals and overflow included", async () => {
    expect(f32ToF16(await values("round.f32"))).toEqual(new Uint16Array((await checkpoint.read("round.f16")).buffer));
  });

  it("to bf16 agrees with PyTorch", async () => {
    expect(f32ToBf16(await values("round.f32"))).toEqual(new Uint16Array((await checkpoint.read("round.bf16")).buffer));
  });

  it("keeps NaN a NaN, whatever its payload", () => {
    const nans = new Float32Array(new Uint32Array([0x7f800001, 0xffffffff, 0x7fc00000]).buffer);
    expect(toFloat32(bytesOf(f32ToF16(nans)), "F16").every(Number.isNaN)).toBe(true);
    expect(toFloat32(bytesOf(f32ToBf16(nans)), "BF16").every(Number.isNaN)).toBe(true);
  });
});

describe("widenF8ToF16", () => {
  it.each(["F8_E4M3", "F8_E5M2"] as const)("is exact for every code of %s", (dtype) => {
    const codes = Uint8Array.from({ length: 256 }, (_, i) => i);
    expect(toFloat32(bytesOf(widenF8ToF16(codes, dtype)), "F16")).toEqual(toFloat32(codes, dtype));
  });
});
