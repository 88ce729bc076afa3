/**
 * Weights as codes with scales, the one formula of compressed-tensors and of DeepSeek's f8:
 *
 *     weight[row, column] = (code[row, column] - zero[row / R, column / C]) * scale[row / R, column / C]
 *
 * in f32 with one rounding, as PyTorch computes it in f32. R rows by C columns share a scale: a row (R = 1, C = all), a group of
 * a row, a block, or all. A weight may be several matrices, [.., rows, columns], with scales for each.
 *
 * Integers whose scales f16 can hold become ggml's blocks of 32, which say the same with f16 scales: Q8_0 of eight bits, Q4_0 of
 * four. Floats of eight bits of which 128 share a scale become blocks of FP8. All others become f32.
 */
import { CheckpointError } from "../../errors.ts";
import { blockSize } from "../blocks.ts";
import { bytesPerElement, type Dtype, f16ToNumber, f32ToF16, isFloat, toFloat32 } from "../dtype.ts";
import type { ReadTensor, TensorInfo } from "../tensor-info.ts";
import type { CodeLayout, Quantization } from "./config.ts";
import { broken, type Derived, type Parts, product } from "./derived.ts";

/** Codes of one number each, whole rows one after the other. */
type Codes = Int8Array | Uint8Array;

/** How codes are kept. */
interface Coding {
  readonly dtype: string;
  /** Codes of an element of the tensor. */
  readonly perElement: number;
  decode(bytes: Uint8Array): Codes;
  /** What each code stands for, where that is not itself. */
  readonly numbers?: Float32Array;
  /** The blocks that hold the same codes. */
  readonly blocks: keyof typeof BLOCKS;
}

const asBytes = ({ buffer, byteOffset, byteLength }: Uint8Array) => new Int8Array(buffer, byteOffset, byteLength);

/** Words of unsigned codes, the first in the lowest bits; what they stand for is less by half their range. */
function packed(bits: 4 | 8, blocks: "Q8_0" | "Q4_0"): Coding {
  const [perElement, mask, half] = [32 / bits, 2 ** bits - 1, 2 ** (bits - 1)];
  const decode = (bytes: Uint8Array) => {
    const words = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const codes = new Int8Array((bytes.length / 4) * perElement);
    for (let at = 0, code = 0; at < bytes.length; at += 4) {
      let word = words.getUint32(at, true);
      for (const end = code + perElement; code < end; word >>>= bits) codes[code++] = (word & mask) - half;
    }
    return codes;
  };
  return { dtype: "I32", perElement, decode, blocks };
}

const F8 = toFloat32(
  Uint8Array.from({ length: 256 }, (_, code) => code),
  "F8_E4M3",
);

const CODINGS: Readonly<Record<Exclude<CodeLayout, "mxfp4">, readonly Coding[]>> = {
  numbers: [
    { dtype: "I8", perElement: 1, decode: asBytes, blocks: "Q8_0" },
    { dtype: "F8_E4M3", perElement: 1, decode: (bytes) => bytes, numbers: F8, blocks: "FP8" },
  ],
  "packed 4": [packed(4, "Q4_0")],
  "packed 8": [packed(8, "Q8_0")],
};

/** What a weight is made of, by its shape. */
interface Grid {
  /** Rows of all matrices, and their columns. */
  readonly rows: number;
  readonly width: number;
  /** Columns that share a scale, and the scales of a row. */
  readonly columns: number;
  readonly perRow: number;
  /** The row of scales of a row. */
  scaleRow(row: number): number;
}

/** @param exact whether every weight is to be f32 */
export function scaledWeight(parts: Parts, quantization: Quantization, exact: boolean): Derived {
  const { codes, scales, name } = parts;
  const codings = CODINGS[quantization.layout as keyof typeof CODINGS];
  const coding = codings.find(({ dtype }) => dtype === codes.dtype);
  if (!coding)
    throw broken(
      parts,
      `is ${codes.dtype}, and ${quantization.name} has ${codings.map(({ dtype }) => dtype).join(" or ")}`,
    );
  if (!isFloat(scales.dtype)) throw broken(parts, `${scales.name} is ${scales.dtype}, which is no float type`);
  const shape = [...codes.shape.slice(0, -1), (codes.shape.at(-1) ?? 1) * coding.perElement];
  const grid = gridOf(parts, shape, quantization);
  checkZeros(parts, coding, grid);
  const blocks = exact ? undefined : blocksOf(parts, coding, grid);
  const bytes = blocks ? (product(shape) / blockSize(blocks).elements) * blockSize(blocks).bytes : 4 * product(shape);
  const info = { ...codes, name, shape, dtype: blocks ?? "F32", byteLength: bytes, storedAs: codes.dtype };
  return {
    info,
    rows: grid.rows,
    async readRows(read, first, last) {
      const values = coding.decode(await readRowsOf(read, codes, grid.rows, first, last));
      const numbers = await readScales(read, parts, grid, coding, first, last);
      return blocks
        ? toBlocks(values, numbers.scales, grid, first, blocks, info)
        : toFloats(values, coding, numbers, grid, first);
    },
  };
}

/** The blocks, where they hold the same numbers: scales of at most their precision, for whole blocks. */
function blocksOf({ scales, zeros }: Parts, { blocks }: Coding, { columns, width }: Grid) {
  if (zeros || !BLOCKS[blocks].scaleTypes.includes(scales.dtype)) return undefined;
  const { elements } = blockSize(blocks);
  return columns % elements === 0 && width % elements === 0 ? blocks : undefined;
}

function gridOf(parts: Parts, shape: readonly number[], { block, groupSizes }: Quantization): Grid {
  const { scales } = parts;
  const [height = 1, width = 1] = shape.slice(-2);
  const matrices = product(shape.slice(0, -2));
  const rows = matrices * height;
  if (product(scales.shape) === 1) return { rows, width, columns: width, perRow: 1, scaleRow: () => 0 };
  // A scale for each row may come without an axis for columns.
  const [down = 1, across = 1] = scales.shape.length < 2 ? [...scales.shape, 1] : scales.shape.slice(-2);
  const [high, wide] = block ?? [down === 1 ? height : 1, width / across];
  const fits = down === Math.ceil(height / high) && across === Math.ceil(width / wide) && Number.isInteger(wide);
  if (!fits || product(scales.shape) !== matrices * down * across || shape.length < 2)
    throw broken(parts, `${scales.name} of the shape [${scales.shape.join(", ")}] does not fit [${shape.join(", ")}]`);
  // Scales as many as groups of another size would need: nothing says which columns they are of.
  if (groupSizes && !groupSizes.some((size) => Math.min(size, width) * across === width))
    throw broken(
      parts,
      `${scales.name} has ${across} scales for ${width} columns, which groups of ${groupSizes.join(" or ")} do not`,
    );
  const scaleRow = (row: number) => Math.floor(row / height) * down + Math.floor((row % height) / high);
  return { rows, width, columns: wide, perRow: across, scaleRow };
}

/** Zero points lie as the scales do; packed ones along the rows, and then for a scale of each row. */
function checkZeros(parts: Parts, { perElement }: Coding, { rows, perRow, scaleRow }: Grid): void {
  const { zeros } = parts;
  if (!zeros) return;
  const expected = Math.ceil((scaleRow(rows - 1) + 1) / perElement) * perRow;
  const dtype = perElement === 1 ? "I8" : "I32";
  if (zeros.dtype !== dtype || product(zeros.shape) !== expected)
    throw broken(
      parts,
      `${zeros.name} should be ${dtype} with ${expected} elements, and is ${zeros.dtype} [${zeros.shape.join(", ")}]`,
    );
}

const readRowsOf = (read: ReadTensor, tensor: TensorInfo, rows: number, first: number, last: number) =>
  read(tensor, (tensor.byteLength / rows) * first, (tensor.byteLength / rows) * last);

/** Scales, [rows of scales, perRow], from that of row `first` on; zero points the same. */
interface Scales {
  readonly scales: Float32Array;
  readonly zeros: Codes | undefined;
}

async function readScales(
  read: ReadTensor,
  { scales, zeros }: Parts,
  { perRow, scaleRow }: Grid,
  { perElement, decode }: Coding,
  first: number,
  last: number,
): Promise<Scales> {
  const [from, to] = [scaleRow(first) * perRow, (scaleRow(last - 1) + 1) * perRow];
  const size = bytesPerElement(scales.dtype as Dtype);
  const numbers = toFloat32(await read(scales, from * size, to * size), scales.dtype);
  if (!zeros) return { scales: numbers, zeros: undefined };
  if (perElement === 1) return { scales: numbers, zeros: asBytes(await read(zeros, from, to)) };
  const [row, end] = [scaleRow(first), scaleRow(last - 1) + 1];
  const wordRow = Math.floor(row / perElement);
  const words = await read(zeros, 4 * wordRow * perRow, 4 * Math.ceil(end / perElement) * perRow);
  const all = decode(words); // of each word, one after the other, and words are of `perElement` rows
  const own = Int8Array.from({ length: to - from }, (_, i) => {
    const [at, group] = [row - wordRow * perElement + Math.floor(i / perRow), i % perRow];
    return all[(Math.floor(at / perElement) * perRow + group) * perElement + (at % perElement)] as number;
  });
  return { scales: numbers, zeros: own };
}

/** Calls `visit` with each run of codes that share a scale, in the order of the codes. */
function eachRun(
  length: number,
  { width, columns, perRow, scaleRow }: Grid,
  first: number,
  visit: (from: number, to: number, scale: number) => void,
): void {
  const before = scaleRow(first);
  for (let row = 0; row < length / width; row++) {
    const scales = (scaleRow(first + row) - before) * perRow;
    for (let column = 0, group = 0; column < width; column += columns, group++)
      visit(row * width + column, row * width + Math.min(width, column + columns), scales + group);
  }
}

function toFloats(codes: Codes, { numbers }: Coding, { scales, zeros }: Scales, grid: Grid, first: number): Uint8Array {
  const out = new Float32Array(codes.length);
  eachRun(codes.length, grid, first, (from, to, at) => {
    const [scale, zero] = [scales[at] as number, zeros?.[at] ?? 0];
    for (let i = from; i < to; i++) {
      const code = codes[i] as number;
      out[i] = ((numbers?.[code] ?? code) - zero) * scale;
    }
  });
  return new Uint8Array(out.buffer);
}

function toBlocks(
  codes: Codes,
  scales: Float32Array,
  grid: Grid,
  first: number,
  type: keyof typeof BLOCKS,
  info: TensorInfo,
): Uint8Array {
  const { elements, bytes } = blockSize(type);
  const { scaleBytes, scaleAt, codesAt, put } = BLOCKS[type];
  const stored = scaleBytes(scales, info);
  const size = stored.length / scales.length;
  const out = new Uint8Array((codes.length / elements) * bytes);
  eachRun(codes.length, grid, first, (from, to, scale) => {
    const ofScale = stored.subarray(scale * size, (scale + 1) * size);
    for (let block = from; block < to; block += elements) {
      const at = (block / elements) * bytes;
      out.set(ofScale, at + scaleAt);
      put(out, at + codesAt, codes.subarray(block, block + elements), info);
    }
  });
  return out;
}

/** How codes and their scale lie in a block. */
interface InBlock {
  readonly scaleTypes: readonly string[];
  readonly scaleAt: number;
  readonly codesAt: number;
  /** Scales as the blocks have them. */
  scaleBytes(scales: Float32Array, info: TensorInfo): Uint8Array;
  put(out: Uint8Array, at: number, codes: Codes, info: TensorInfo): void;
}

const notRepresentable = ({ file }: TensorInfo, detail: string) =>
  new CheckpointError("checkpoint/not-representable", `${file}: ${detail}. Load the model with dtype: "float32".`);

/** ggml's: the scale comes first. */
const WITH_HALVES = {
  scaleTypes: ["F16", "BF16"],
  scaleAt: 0,
  codesAt: 2,
  scaleBytes(scales: Float32Array, info: TensorInfo) {
    const halves = f32ToF16(scales);
    const lost = scales.findIndex((scale, i) => f16ToNumber(halves[i] as number) !== scale);
    if (lost < 0) return new Uint8Array(halves.buffer);
    const detail = `a scale of ${info.name} is ${scales[lost]}, which f16 cannot hold, and ${info.dtype} has f16 scales`;
    throw notRepresentable(info, detail);
  },
};

const BLOCKS = {
  Q8_0: { ...WITH_HALVES, put: (out, at, codes) => out.set(codes, at) },
  Q4_0: {
    ...WITH_HALVES,
    put(out, at, codes) {
      for (let i = 0; i < 16; i++) out[at + i] = ((codes[i] as number) + 8) | (((codes[i + 16] as number) + 8) << 4);
    },
  },
  FP8: {
    scaleTypes: ["F32", "F16", "BF16"],
    scaleAt: 128,
    codesAt: 0,
    scaleBytes: (scales) => new Uint8Array(scales.buffer, scales.byteOffset, scales.byteLength),
    put(out, at, codes, info) {
      // Kernels make a number of every code.
      if (codes.some((code) => (code & 0x7f) === 0x7f)) throw notRepresentable(info, `${info.name} has a NaN`);
      out.set(codes, at);
    },
  },
} satisfies Readonly<Record<string, InBlock>>;
