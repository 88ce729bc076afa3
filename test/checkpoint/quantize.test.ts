/** Quantising numbers: each block by its number of largest magnitude, and no further from the numbers than the codes are apart. */
import { describe, expect, it } from "vitest";
import { byteLengthOf, dequantize, quantize } from "../../src/checkpoint/blocks.ts";
import { gaussians, seeded } from "../support/numbers.ts";

const VALUES = gaussians(seeded(3), 4 * 32);

describe.each([
  ["Q8_0", 127, 0.51],
  // Codes go from -8 to 7: what lies opposite the largest may be a whole step off.
  ["Q4_0", 8, 1.01],
] as const)("%s", (type, codes, steps) => {
  it("keeps each number to a share of its block's largest", () => {
    const bytes = quantize(VALUES, type);
    expect(bytes.length).toBe(byteLengthOf(type, VALUES.length));
    const back = dequantize(bytes, type);
    for (let first = 0; first < VALUES.length; first += 32) {
      const block = VALUES.subarray(first, first + 32);
      const most = Math.max(...block.map(Math.abs));
      for (const [at, value] of block.entries())
        expect(Math.abs((back[first + at] as number) - value)).toBeLessThan((steps * most) / codes + 1e-3 * most);
    }
  });

  it("has the largest of a block exactly, but for the scale's rounding, with its sign", () => {
    for (const sign of [1, -1]) {
      const block = new Float32Array(32);
      block[5] = sign * 2;
      block[6] = -sign;
      expect(dequantize(quantize(block, type), type)[5]).toBeCloseTo(sign * 2, 2);
    }
  });

  it("has zeros for zeros", () => {
    expect(dequantize(quantize(new Float32Array(64), type), type).every((value) => value === 0)).toBe(true);
  });
});

it("follows ggml's reference: a block of Q4_0 by its bytes", () => {
  const block = new Float32Array(32);
  block.set([-8, 7, 0, 1]);
  block[16] = 3.5;
  // Scale 1, codes plus 8: 0, 15, 8, 9, and 12 in the upper half of the first byte.
  const expected = [0x00, 0x3c, 0xc0, 0x8f, 0x88, 0x89, ...new Array<number>(12).fill(0x88)];
  expect([...quantize(block, "Q4_0")]).toEqual(expected);
});
