/**
 * Quantised weights: rows of blocks, each with codes of a few bits and the scales that make numbers of them. The types and
 * their layouts are those of ggml (https://github.com/ggml-org/ggml, ggml-common.h), as GGUF files hold them; all of them
 * little-endian. What stands here is the definition that kernels are compared with: short, and slow.
 *
 *   Q8_0, Q4_0, Q5_0   scale * code, codes around zero                        blocks of 32
 *   Q4_1, Q5_1         scale * code + least                                   blocks of 32
 *   MXFP4              2^e * a float of four bits (OCP MX specification 1.0)  blocks of 32
 *   Q2_K, Q4_K, Q5_K   scale * s * code - least * m, s and m by sub-block     blocks of 256
 *   Q3_K, Q6_K         scale * s * code, s by sub-block of 16                 blocks of 256
 */
import { bytesPerElement, type Dtype, f32ToF16, float16 } from "./dtype.ts";

export type BlockType =
  | "Q8_0"
  | "Q4_0"
  | "Q4_1"
  | "Q5_0"
  | "Q5_1"
  | "MXFP4"
  | "Q2_K"
  | "Q3_K"
  | "Q4_K"
  | "Q5_K"
  | "Q6_K";

interface BlockFacts {
  /** Weights of a block, and its bytes. */
  readonly elements: number;
  readonly bytes: number;
  /** Writes the weights of the block that begins at byte `at`. */
  readonly decode: (block: Uint8Array, at: number, out: Float32Array, to: number) => void;
}

/** Number `index` of an array that has it. */
const of = (values: ArrayLike<number>, index: number) => values[index] as number;
const half = (block: Uint8Array, at: number) => float16(of(block, at) | (of(block, at + 1) << 8));
const signed = (byte: number) => (byte << 24) >> 24;

/** Codes of four bits in 16 bytes: of elements 0 to 15 in the lower halves, 16 to 31 in the upper. */
const nibble = (block: Uint8Array, at: number, element: number) =>
  (of(block, at + (element % 16)) >> (element < 16 ? 0 : 4)) & 15;

const fifthBit = (block: Uint8Array, at: number, element: number) =>
  ((of(block, at + (element >> 3)) >> (element & 7)) & 1) << 4;

/** A block of 32 whose elements are `scale * code(element) + least`. */
function plain(
  bytes: number,
  numbers: (block: Uint8Array, at: number) => { scale: number; least?: number },
  code: (block: Uint8Array, at: number, element: number) => number,
): BlockFacts {
  return {
    elements: 32,
    bytes,
    decode: (block, at, out, to) => {
      const { scale, least = 0 } = numbers(block, at);
      for (let i = 0; i < 32; i++) out[to + i] = Math.fround(scale * code(block, at, i)) + least;
    },
  };
}

/** A block of 256: its sub-block's scale and least, each a small integer times a half of the block, and a code by element. */
function nested(
  bytes: number,
  numbers: (block: Uint8Array, at: number, element: number) => { scale: number; least?: number },
  code: (block: Uint8Array, at: number, element: number) => number,
): BlockFacts {
  return {
    elements: 256,
    bytes,
    decode: (block, at, out, to) => {
      for (let i = 0; i < 256; i++) {
        const { scale, least = 0 } = numbers(block, at, i);
        out[to + i] = Math.fround(Math.fround(scale) * code(block, at, i)) - Math.fround(least);
      }
    },
  };
}

/** Q4_K's and Q5_K's eight scales and leasts of six bits in twelve bytes: four plain ones of each, the rest in pieces. */
function sixBits(block: Uint8Array, at: number, part: number): { s: number; m: number } {
  if (part < 4) return { s: of(block, at + part) & 63, m: of(block, at + part + 4) & 63 };
  const low = of(block, at + part + 4);
  return {
    s: (low & 15) | ((of(block, at + part - 4) >> 6) << 4),
    m: (low >> 4) | ((of(block, at + part) >> 6) << 4),
  };
}

/** Of Q4_K and Q5_K, whose sub-blocks have 32 elements. */
function scaleAndLeast(block: Uint8Array, at: number, element: number) {
  const { s, m } = sixBits(block, at + 4, element >> 5);
  return { scale: half(block, at) * s, least: half(block, at + 2) * m };
}

/** Codes of four bits in 128 bytes: a run of 32 has the lower or the upper halves of 32 bytes. */
const runNibble = (block: Uint8Array, at: number, element: number) =>
  (of(block, at + 32 * (element >> 6) + (element & 31)) >> (4 * ((element >> 5) & 1))) & 15;

/** Codes of two bits in 64 bytes: of each half of the block, four runs of 32 share 32 bytes. */
const runPair = (block: Uint8Array, at: number, element: number) =>
  (of(block, at + 32 * (element >> 7) + (element & 31)) >> (2 * ((element >> 5) & 3))) & 3;

/** Q3_K's sixteen scales of six bits in twelve bytes: four lower bits in the first eight, two upper in the last four. */
function threeScale(block: Uint8Array, at: number, part: number): number {
  const low = (of(block, at + (part & 7)) >> (part < 8 ? 0 : 4)) & 15;
  const high = (of(block, at + 8 + (part & 3)) >> (2 * (part >> 2))) & 3;
  return (low | (high << 4)) - 32;
}

/** Q6_K: four lower bits of 64 elements twice over in 64 bytes, two upper bits in 32. */
function sixCode(block: Uint8Array, at: number, element: number): number {
  const [part, run, column] = [element >> 7, (element >> 5) & 3, element & 31];
  const low = (of(block, at + 64 * part + 32 * (run & 1) + column) >> (4 * (run >> 1))) & 15;
  const high = (of(block, at + 128 + 32 * part + column) >> (2 * run)) & 3;
  return (low | (high << 4)) - 32;
}

/** Twice the value of a float with a sign, two bits of exponent and one of mantissa. */
const TWICE_E2M1 = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

const BLOCKS: Readonly<Record<BlockType, BlockFacts>> = {
  Q8_0: plain(
    34,
    (block, at) => ({ scale: half(block, at) }),
    (block, at, i) => signed(of(block, at + 2 + i)),
  ),
  Q4_0: plain(
    18,
    (block, at) => ({ scale: half(block, at) }),
    (block, at, i) => nibble(block, at + 2, i) - 8,
  ),
  Q4_1: plain(
    20,
    (block, at) => ({ scale: half(block, at), least: half(block, at + 2) }),
    (block, at, i) => nibble(block, at + 4, i),
  ),
  Q5_0: plain(
    22,
    (block, at) => ({ scale: half(block, at) }),
    (block, at, i) => (nibble(block, at + 6, i) | fifthBit(block, at + 2, i)) - 16,
  ),
  Q5_1: plain(
    24,
    (block, at) => ({ scale: half(block, at), least: half(block, at + 2) }),
    (block, at, i) => nibble(block, at + 8, i) | fifthBit(block, at + 4, i),
  ),
  MXFP4: plain(
    17,
    (block, at) => ({ scale: 2 ** (of(block, at) - 128) }),
    (block, at, i) => of(TWICE_E2M1, nibble(block, at + 1, i)),
  ),
  Q2_K: nested(
    84,
    (block, at, i) => {
      const both = of(block, at + (i >> 4));
      return { scale: half(block, at + 80) * (both & 15), least: half(block, at + 82) * (both >> 4) };
    },
    (block, at, i) => runPair(block, at + 16, i),
  ),
  Q3_K: nested(
    110,
    (block, at, i) => ({ scale: half(block, at + 108) * threeScale(block, at + 96, i >> 4) }),
    (block, at, i) => runPair(block, at + 32, i) - ((of(block, at + (i & 31)) >> (i >> 5)) & 1 ? 0 : 4),
  ),
  Q4_K: nested(144, scaleAndLeast, (block, at, i) => runNibble(block, at + 16, i)),
  Q5_K: nested(
    176,
    scaleAndLeast,
    (block, at, i) => runNibble(block, at + 48, i) | (((of(block, at + 16 + (i & 31)) >> (i >> 5)) & 1) << 4),
  ),
  Q6_K: nested(
    210,
    (block, at, i) => ({ scale: half(block, at + 208) * signed(of(block, at + 192 + (i >> 4))) }),
    sixCode,
  ),
};

export const BLOCK_TYPES = Object.keys(BLOCKS) as readonly BlockType[];

export function isBlockType(text: string): text is BlockType {
  return Object.hasOwn(BLOCKS, text);
}

/** Weights of a block, and its bytes. */
export function blockSize(type: BlockType): Pick<BlockFacts, "elements" | "bytes"> {
  return BLOCKS[type];
}

/** Whole blocks to the numbers that they stand for. Sums and products are rounded to f32, as ggml's are. */
export function dequantize(bytes: Uint8Array, type: BlockType): Float32Array {
  const { elements, bytes: size, decode } = BLOCKS[type];
  const count = bytes.length / size;
  const out = new Float32Array(count * elements);
  for (let block = 0; block < count; block++) decode(bytes, block * size, out, block * elements);
  return out;
}

/** A type that weights may have. */
export type TensorType = Dtype | BlockType;

/** Bytes of so many elements in a row; of blocks, as many as it takes. */
export function byteLengthOf(dtype: TensorType, elements: number): number {
  if (!isBlockType(dtype)) return elements * bytesPerElement(dtype);
  const { elements: each, bytes } = BLOCKS[dtype];
  return Math.ceil(elements / each) * bytes;
}

/** The types that numbers can be brought into here. */
export const QUANTIZED_HERE = ["Q8_0", "Q4_0"] as const satisfies readonly BlockType[];

/**
 * Numbers to blocks, as ggml's reference quantises them: each block by its number of largest magnitude, nothing else weighed.
 * Of Q8_0 that number is code 127 or -127, of Q4_0 code -8. The scale is kept as f16, the codes are those of the scale before it was
 * rounded.
 */
export function quantize(values: Float32Array, type: BlockType): Uint8Array {
  if (type === "Q8_0")
    return encode(values, type, 127, (code, block, at, element) => {
      block[at + 2 + element] = roundAway(code);
    });
  if (type === "Q4_0")
    return encode(values, type, -8, (code, block, at, element) => {
      const bits = Math.min(15, Math.trunc(Math.fround(code + 8.5)));
      const byte = at + 2 + (element % 16);
      block[byte] = (block[byte] as number) | (bits << (element < 16 ? 0 : 4));
    });
  throw new TypeError(`Numbers are not quantised to ${type} here`);
}

const roundAway = (value: number) => Math.sign(value) * Math.round(Math.abs(value));

/** Blocks whose number of largest magnitude has the code `most`; a positive one stands for that magnitude. */
function encode(
  values: Float32Array,
  type: BlockType,
  most: number,
  put: (code: number, block: Uint8Array, at: number, element: number) => void,
): Uint8Array {
  const { elements, bytes } = BLOCKS[type];
  const out = new Uint8Array((values.length / elements) * bytes);
  for (let first = 0, at = 0; first < values.length; first += elements, at += bytes) {
    const block = values.subarray(first, first + elements);
    const largest = block.reduce((far, value) => (Math.abs(value) > Math.abs(far) ? value : far), 0);
    const scale = Math.fround((most > 0 ? Math.abs(largest) : largest) / most);
    const inverse = scale === 0 ? 0 : Math.fround(1 / scale);
    const [bits = 0] = f32ToF16(Float32Array.of(scale));
    out[at] = bits & 0xff;
    out[at + 1] = bits >> 8;
    for (const [element, value] of block.entries()) put(Math.fround(value * inverse), out, at, element);
  }
  return out;
}
