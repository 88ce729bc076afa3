/**
 * Quantised weights as a type that tensors may have beside the floats: rows of blocks, each with codes of a few bits and the scales
 * that make numbers of them. The layouts of ggml's types, and what a block stands for, are in `gguf/blocks.ts`.
 */
import { bytesPerElement, type Dtype, f32ToF16, toFloat32 } from "./dtype.ts";
import { BLOCK_TYPES, type Blocks, blocksRead } from "./gguf/blocks.ts";

/**
 * 128 floats of eight bits (E4M3), and the f32 that each is multiplied by. No file has it: codes and scales of f8 checkpoints are
 * brought together in it (`quantized/scaled.ts`).
 */
const FP8 = blocksRead(128, 132, (block, at, out, to) => {
  const scale = block.getFloat32(at + 128, true);
  const codes = new Uint8Array(block.buffer, block.byteOffset + at, 128);
  for (const [i, code] of toFloat32(codes, "F8_E4M3").entries()) out[to + i] = code * scale;
});

const TYPES = { ...BLOCK_TYPES, FP8 };
type TypeName = keyof typeof TYPES;

export type BlockType = Exclude<TypeName, "F32" | "F16" | "BF16">;

/** A type that weights may have. */
export type TensorType = Dtype | BlockType;

export function isBlockType(text: string): text is BlockType {
  return Object.hasOwn(TYPES, text) && TYPES[text as TypeName].weights > 1;
}

/** Weights of a block, and its bytes. */
export function blockSize(type: BlockType): { elements: number; bytes: number } {
  const { weights, bytes }: Blocks = TYPES[type];
  return { elements: weights, bytes };
}

/** Whole blocks to the numbers that they stand for. */
export function dequantize(bytes: Uint8Array, type: BlockType): Float32Array {
  const { weights, bytes: size, dequantise }: Blocks = TYPES[type];
  const out = new Float32Array((bytes.length / size) * weights);
  dequantise(bytes, out);
  return out;
}

/** Bytes of so many elements in a row; of blocks, as many as it takes. */
export function byteLengthOf(dtype: TensorType, elements: number): number {
  if (!isBlockType(dtype)) return elements * bytesPerElement(dtype);
  const { elements: each, bytes } = blockSize(dtype);
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
  const { elements, bytes } = blockSize(type);
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
