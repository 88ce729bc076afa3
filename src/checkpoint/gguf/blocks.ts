/**
 * How GGUF stores weights. A type cuts a row into blocks of 32 or 256 weights; each block holds small integers and the
 * scales that turn them back. One row of `BLOCK_TYPES` a type; the layouts are those of ggml's `ggml-common.h` (the
 * structs `block_q4_0` and on) and of gguf-py's `quants.py`.
 *
 * Every number here is little-endian, and `d`, `m` and `dmin` are f16. A scale of 11 bits times an integer of at most 12
 * is exact in f32, so the one rounding is that of the last sum: the results are ggml's bit for bit.
 */
import { f16ToNumber, toFloat32 } from "../dtype.ts";

/** One way to store weights. */
export interface Blocks {
  /** Weights of a block; 1 for the types that store plain floats. */
  readonly weights: number;
  /** Bytes of a block. */
  readonly bytes: number;
  /**
   * Weights of whole blocks.
   * @param bytes `[blocks * this.bytes]`
   * @param out `[blocks * this.weights]`, filled
   */
  dequantise(bytes: Uint8Array, out: Float32Array): void;
}

export interface BlockType extends Blocks {
  /** Its number in a GGUF file, ggml's `enum ggml_type`. */
  readonly id: number;
}

/** Reads one block: its bytes from `at` on, its weights to `out` from `to` on. */
type ReadBlock = (block: DataView, at: number, out: Float32Array, to: number) => void;

/** Names of the types that can be read, as ggml spells them. */
export type BlockTypeName = keyof typeof ROWS;

const f16 = (block: DataView, at: number): number => f16ToNumber(block.getUint16(at, true));

/**
 * Sixteen bytes of 4-bit integers. The low halves are the first 16 weights of 32, the high halves the last 16.
 * `value` turns the integer of weight `i` into the weight.
 */
function nibbles32(
  block: DataView,
  at: number,
  out: Float32Array,
  to: number,
  value: (q: number, i: number) => number,
) {
  for (let i = 0; i < 16; i++) {
    const pair = block.getUint8(at + i);
    out[to + i] = value(pair & 15, i);
    out[to + 16 + i] = value(pair >>> 4, i + 16);
  }
}

/** `{ d; qs[16] }`: weight = d (q - 8). */
const q4_0: ReadBlock = (block, at, out, to) => {
  const d = f16(block, at);
  nibbles32(block, at + 2, out, to, (q) => d * (q - 8));
};

/** `{ d; m; qs[16] }`: weight = d q + m. */
const q4_1: ReadBlock = (block, at, out, to) => {
  const d = f16(block, at);
  const m = f16(block, at + 2);
  nibbles32(block, at + 4, out, to, (q) => d * q + m);
};

/** `{ d; qh: u32; qs[16] }`: bit i of `qh` is the fifth bit of q of weight i; weight = d (q - 16). */
const q5_0: ReadBlock = (block, at, out, to) => {
  const d = f16(block, at);
  const high = block.getUint32(at + 2, true);
  nibbles32(block, at + 6, out, to, (q, i) => d * ((q | (((high >>> i) & 1) << 4)) - 16));
};

/** `{ d; m; qh: u32; qs[16] }`: five bits as in Q5_0; weight = d q + m. */
const q5_1: ReadBlock = (block, at, out, to) => {
  const d = f16(block, at);
  const m = f16(block, at + 2);
  const high = block.getUint32(at + 4, true);
  nibbles32(block, at + 8, out, to, (q, i) => d * (q | (((high >>> i) & 1) << 4)) + m);
};

/** `{ d; qs: i8[32] }`: weight = d q. */
const q8_0: ReadBlock = (block, at, out, to) => {
  const d = f16(block, at);
  for (let i = 0; i < 32; i++) out[to + i] = d * block.getInt8(at + 2 + i);
};

/** The values of a 4-bit float with 2 bits of exponent and 1 of mantissa (E2M1). The fourth bit is the sign. */
const E2M1 = [0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6] as const;

/** `{ e: u8; qs[16] }`: weight = 2^(e - 127) E2M1[q], the MXFP4 of the OCP Microscaling formats. */
const mxfp4: ReadBlock = (block, at, out, to) => {
  const scale = 2 ** (block.getUint8(at) - 127);
  nibbles32(block, at + 1, out, to, (q) => scale * (E2M1[q] as number));
};

/**
 * `{ scales[16]; qs[64]; d; dmin }`. Sixteen groups of 16 weights; byte g of `scales` is a scale (low half) and a minimum
 * (high half): weight = d scale q - dmin minimum. Each half of 128 weights has 32 bytes of `qs`: bits 2j and 2j + 1 of
 * byte l are the weight 32 j + l of the half.
 */
const q2_K: ReadBlock = (block, at, out, to) => {
  const d = f16(block, at + 80);
  const dmin = f16(block, at + 82);
  for (let i = 0; i < 256; i++) {
    const scale = block.getUint8(at + (i >>> 4));
    const q = (block.getUint8(at + 16 + 32 * (i >>> 7) + (i & 31)) >>> (2 * ((i >>> 5) & 3))) & 3;
    out[to + i] = d * (scale & 15) * q - dmin * (scale >>> 4);
  }
};

/**
 * `{ hmask[32]; qs[64]; scales[12]; d }`. Two low bits in `qs` as in Q2_K; the third is bit i / 32 of byte i % 32 of
 * `hmask`: weight = d (scale - 32) (q - 4). Sixteen scales of six bits: the low four are the halves of bytes 0 to 7, first
 * the low ones; the high two are in bytes 8 to 11, two bits each.
 */
const q3_K: ReadBlock = (block, at, out, to) => {
  const d = f16(block, at + 108);
  for (let i = 0; i < 256; i++) {
    const group = i >>> 4;
    const low = (block.getUint8(at + 96 + (group & 7)) >>> (4 * (group >>> 3))) & 15;
    const high = (block.getUint8(at + 104 + (group & 3)) >>> (2 * (group >>> 2))) & 3;
    const third = (block.getUint8(at + (i & 31)) >>> (i >>> 5)) & 1;
    const q = (block.getUint8(at + 32 + 32 * (i >>> 7) + (i & 31)) >>> (2 * ((i >>> 5) & 3))) & 3;
    out[to + i] = d * (low + 16 * high - 32) * (q + 4 * third - 4);
  }
};

/**
 * The six-bit scale and minimum of group `g` of eight, in the twelve bytes that Q4_K and Q5_K share: those of groups 0 to
 * 3 are the low six bits of bytes g and g + 4; those of groups 4 to 7 are the halves of byte g + 4, with two more bits
 * from the tops of bytes g - 4 and g.
 */
function scaleAndMinimum(block: DataView, at: number, g: number): [scale: number, minimum: number] {
  const byte = (i: number) => block.getUint8(at + i);
  if (g < 4) return [byte(g) & 63, byte(g + 4) & 63];
  return [(byte(g + 4) & 15) | ((byte(g - 4) >>> 6) << 4), (byte(g + 4) >>> 4) | ((byte(g) >>> 6) << 4)];
}

/**
 * `{ d; dmin; scales[12]; qs[128] }`. Eight groups of 32 weights, weight = d scale q - dmin minimum. Groups 2 j and 2 j + 1
 * are the low and the high halves of bytes 32 j to 32 j + 31 of `qs`.
 */
const q4_K: ReadBlock = (block, at, out, to) => {
  const d = f16(block, at);
  const dmin = f16(block, at + 2);
  for (let group = 0; group < 8; group++) {
    const [scale, minimum] = scaleAndMinimum(block, at + 4, group);
    for (let i = 0; i < 32; i++) {
      const q = (block.getUint8(at + 16 + 32 * (group >>> 1) + i) >>> (4 * (group & 1))) & 15;
      out[to + 32 * group + i] = d * scale * q - dmin * minimum;
    }
  }
};

/** `{ d; dmin; scales[12]; qh[32]; qs[128] }`: Q4_K with a fifth bit, bit `group` of byte i of `qh`. */
const q5_K: ReadBlock = (block, at, out, to) => {
  const d = f16(block, at);
  const dmin = f16(block, at + 2);
  for (let group = 0; group < 8; group++) {
    const [scale, minimum] = scaleAndMinimum(block, at + 4, group);
    for (let i = 0; i < 32; i++) {
      const low = (block.getUint8(at + 48 + 32 * (group >>> 1) + i) >>> (4 * (group & 1))) & 15;
      const fifth = (block.getUint8(at + 16 + i) >>> group) & 1;
      out[to + 32 * group + i] = d * scale * (low + 16 * fifth) - dmin * minimum;
    }
  }
};

/**
 * `{ ql[128]; qh[64]; scales: i8[16]; d }`: weight = d scale (q - 32), a scale for each 16 weights. Each half of 128
 * weights is four groups of 32. The low four bits of groups 0 and 1 are the low halves of its 64 bytes of `ql`, those of
 * groups 2 and 3 the high halves; the high two bits of group j are bits 2j and 2j + 1 of its 32 bytes of `qh`.
 */
const q6_K: ReadBlock = (block, at, out, to) => {
  const d = f16(block, at + 208);
  for (let i = 0; i < 256; i++) {
    const half = i >>> 7;
    const group = (i >>> 5) & 3;
    const low = (block.getUint8(at + 64 * half + (i & 63)) >>> (4 * (group >>> 1))) & 15;
    const high = (block.getUint8(at + 128 + 32 * half + (i & 31)) >>> (2 * group)) & 3;
    out[to + i] = d * block.getInt8(at + 192 + (i >>> 4)) * (low + 16 * high - 32);
  }
};

/** A type whose blocks, of so many weights in so many bytes, are read one by one. */
export function blocksRead(weights: number, bytes: number, read: ReadBlock): Blocks {
  const dequantise = (source: Uint8Array, out: Float32Array): void => {
    const view = new DataView(source.buffer, source.byteOffset, source.byteLength);
    const count = source.byteLength / bytes;
    if (!Number.isInteger(count) || out.length !== count * weights) {
      throw new RangeError(`${source.byteLength} bytes are not ${out.length / weights} blocks of ${bytes} bytes.`);
    }
    for (let block = 0; block < count; block++) read(view, block * bytes, out, block * weights);
  };
  return { weights, bytes, dequantise };
}

const blocks = (id: number, ...type: Parameters<typeof blocksRead>): BlockType => ({ id, ...blocksRead(...type) });

const floats = (id: number, bytes: number, dtype: "F32" | "F16" | "BF16"): BlockType => ({
  id,
  weights: 1,
  bytes,
  dequantise: (source, out) => out.set(toFloat32(source, dtype)),
});

const ROWS = {
  F32: floats(0, 4, "F32"),
  F16: floats(1, 2, "F16"),
  BF16: floats(30, 2, "BF16"),
  Q8_0: blocks(8, 32, 34, q8_0),
  Q4_0: blocks(2, 32, 18, q4_0),
  Q4_1: blocks(3, 32, 20, q4_1),
  Q5_0: blocks(6, 32, 22, q5_0),
  Q5_1: blocks(7, 32, 24, q5_1),
  Q2_K: blocks(10, 256, 84, q2_K),
  Q3_K: blocks(11, 256, 110, q3_K),
  Q4_K: blocks(12, 256, 144, q4_K),
  Q5_K: blocks(13, 256, 176, q5_K),
  Q6_K: blocks(14, 256, 210, q6_K),
  MXFP4: blocks(39, 32, 17, mxfp4),
};

/** Every type that can be read, by ggml's name. */
export const BLOCK_TYPES: Readonly<Record<BlockTypeName, BlockType>> = ROWS;

/** Names that ggml gave to numbers whose weights are not read here, for messages. */
export const OTHER_TYPES: ReadonlyMap<number, string> = new Map([
  [4, "Q4_2"],
  [5, "Q4_3"],
  [9, "Q8_1"],
  [15, "Q8_K"],
  [16, "IQ2_XXS"],
  [17, "IQ2_XS"],
  [18, "IQ3_XXS"],
  [19, "IQ1_S"],
  [20, "IQ4_NL"],
  [21, "IQ3_S"],
  [22, "IQ2_S"],
  [23, "IQ4_XS"],
  [24, "I8"],
  [25, "I16"],
  [26, "I32"],
  [27, "I64"],
  [28, "F64"],
  [29, "IQ1_M"],
  [31, "Q4_0_4_4"],
  [32, "Q4_0_4_8"],
  [33, "Q4_0_8_8"],
  [34, "TQ1_0"],
  [35, "TQ2_0"],
  [36, "IQ4_NL_4_4"],
  [37, "IQ4_NL_4_8"],
  [38, "IQ4_NL_8_8"],
]);
