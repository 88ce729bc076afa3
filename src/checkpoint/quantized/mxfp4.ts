/**
 * OpenAI's MXFP4: blocks of 32 floats of four bits (E2M1) along a row, [.., rows, blocks, 16] bytes, and an exponent for each,
 * [.., rows, blocks]. Number 2 i of a block is the low half of byte i, number 2 i + 1 the high half. ggml's block has the same
 * numbers in another order: number i is the low half of byte i, number i + 16 the high half, behind the exponent. So blocks
 * stay blocks.
 */
import { blockSize } from "../blocks.ts";
import type { ReadTensor } from "../tensor-info.ts";
import { broken, type Derived, type Parts, product } from "./derived.ts";

const { elements: ELEMENTS, bytes: BLOCK_BYTES } = blockSize("MXFP4");
const CODE_BYTES = ELEMENTS / 2;

/** Where transformers has [expert, in, out], the blocks are of [expert, out, in]. */
export function mxfp4Weight(parts: Parts): Derived {
  const { codes, scales, name } = parts;
  const counts = codes.shape.slice(0, -1);
  if (codes.dtype !== "U8" || codes.shape.at(-1) !== CODE_BYTES || counts.length < 2)
    throw broken(
      parts,
      `should be U8 [.., rows, blocks, ${CODE_BYTES}], and is ${codes.dtype} [${codes.shape.join(", ")}]`,
    );
  if (scales.dtype !== "U8" || String(scales.shape) !== String(counts))
    throw broken(
      parts,
      `${scales.name} should be U8 [${counts.join(", ")}], and is ${scales.dtype} [${scales.shape.join(", ")}]`,
    );
  const perRow = counts.at(-1) as number;
  const shape = [...counts.slice(0, -1), perRow * ELEMENTS];
  const info = { ...codes, name, dtype: "MXFP4", shape, byteLength: product(counts) * BLOCK_BYTES, isTurned: true };
  return {
    info,
    rows: product(counts) / perRow,
    readRows: (read, ...rows) => readBlocks(read, parts, perRow, ...rows),
  };
}

async function readBlocks(read: ReadTensor, { codes, scales }: Parts, perRow: number, first: number, last: number) {
  const [from, to] = [first * perRow, last * perRow];
  const stored = await read(codes, from * CODE_BYTES, to * CODE_BYTES);
  const exponents = await read(scales, from, to);
  const out = new Uint8Array((to - from) * BLOCK_BYTES);
  for (const [block, exponent] of exponents.entries()) {
    const at = block * BLOCK_BYTES;
    const half = CODE_BYTES / 2;
    out[at] = exponent;
    for (let i = 0; i < half; i++) {
      const first = stored[block * CODE_BYTES + i] as number; // numbers 2 i and 2 i + 1
      const later = stored[block * CODE_BYTES + half + i] as number; // numbers 2 i + 16 and 2 i + 17
      out[at + 1 + 2 * i] = (first & 15) | ((later & 15) << 4);
      out[at + 2 + 2 * i] = (first >> 4) | (later & 0xf0);
    }
  }
  return out;
}
