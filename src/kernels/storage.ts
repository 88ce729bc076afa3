/**
 * How weight matrices lie on the GPU: as numbers, or in blocks of codes with scales. The WGSL of each storage gives four
 * neighbouring weights (`weight4`) or one (`weight`) by the number of an element, and every kernel that reads weights is joined to one.
 */
import weightsBf16 from "../../shaders/weights_bf16.wgsl";
import weightsBlocks from "../../shaders/weights_blocks.wgsl";
import weightsF16 from "../../shaders/weights_f16.wgsl";
import weightsF32 from "../../shaders/weights_f32.wgsl";
import weightsFp8 from "../../shaders/weights_fp8.wgsl";
import weightsKNumbers from "../../shaders/weights_k_numbers.wgsl";
import weightsMxfp4 from "../../shaders/weights_mxfp4.wgsl";
import weightsQ2K from "../../shaders/weights_q2_k.wgsl";
import weightsQ3K from "../../shaders/weights_q3_k.wgsl";
import weightsQ40 from "../../shaders/weights_q4_0.wgsl";
import weightsQ41 from "../../shaders/weights_q4_1.wgsl";
import weightsQ4K from "../../shaders/weights_q4_k.wgsl";
import weightsQ50 from "../../shaders/weights_q5_0.wgsl";
import weightsQ51 from "../../shaders/weights_q5_1.wgsl";
import weightsQ5K from "../../shaders/weights_q5_k.wgsl";
import weightsQ6K from "../../shaders/weights_q6_k.wgsl";
import weightsQ80 from "../../shaders/weights_q8_0.wgsl";

/** One number an element. */
export type FloatStorage = "f32" | "f16" | "bf16";
/** Codes and scales in blocks: the types of ggml, and floats of eight bits. */
export type BlockStorage =
  | "q8_0"
  | "q4_0"
  | "q4_1"
  | "q5_0"
  | "q5_1"
  | "mxfp4"
  | "fp8"
  | "q2_k"
  | "q3_k"
  | "q4_k"
  | "q5_k"
  | "q6_k";
/** How a weight matrix lies on the GPU. Compute is in f32 whatever the storage. */
export type StorageType = FloatStorage | BlockStorage;

/** Bytes `from` to `to` of each block of the checkpoint. */
type Field = readonly [from: number, to: number];

/** How blocks of a checkpoint lie on the GPU. */
export interface BlockLayout {
  /** Blocks that lie together, so that words are whole; their elements, and the words they take. */
  readonly blocks: number;
  readonly elements: number;
  readonly words: number;
  /** What comes after what: a field of each of the blocks, then the next. */
  readonly fields: readonly Field[];
}

/** Words that are whole in the file stay as they are; else scales go behind the codes, or a block is padded. */
export const BLOCK_LAYOUTS: Readonly<Record<BlockStorage, BlockLayout>> = {
  q8_0: {
    blocks: 2,
    elements: 64,
    words: 17,
    fields: [
      [2, 34],
      [0, 2],
    ],
  },
  q4_0: {
    blocks: 2,
    elements: 64,
    words: 9,
    fields: [
      [2, 18],
      [0, 2],
    ],
  },
  q4_1: { blocks: 1, elements: 32, words: 5, fields: [[0, 20]] },
  q5_0: {
    blocks: 2,
    elements: 64,
    words: 11,
    fields: [
      [6, 22],
      [2, 6],
      [0, 2],
    ],
  },
  q5_1: { blocks: 1, elements: 32, words: 6, fields: [[0, 24]] },
  mxfp4: {
    blocks: 4,
    elements: 128,
    words: 17,
    fields: [
      [1, 17],
      [0, 1],
    ],
  },
  fp8: { blocks: 1, elements: 128, words: 33, fields: [[0, 132]] },
  q2_k: { blocks: 1, elements: 256, words: 21, fields: [[0, 84]] },
  q3_k: { blocks: 1, elements: 256, words: 28, fields: [[0, 110]] },
  q4_k: { blocks: 1, elements: 256, words: 36, fields: [[0, 144]] },
  q5_k: { blocks: 1, elements: 256, words: 44, fields: [[0, 176]] },
  q6_k: { blocks: 1, elements: 256, words: 53, fields: [[0, 210]] },
};

export const isBlockStorage = (storage: StorageType): storage is BlockStorage => storage in BLOCK_LAYOUTS;

/** Storages whose WGSL has, beside four weights by their number, what kernels need that walk blocks. */
const WALKED: ReadonlySet<StorageType> = new Set(["q8_0", "q4_0"]);
export const isWalked = (storage: StorageType): boolean => WALKED.has(storage);

const inBlocks = (source: string) => `${weightsBlocks}\n${source}`;

export const STORAGE_SOURCE: Readonly<Record<StorageType, string>> = {
  f32: weightsF32,
  f16: weightsF16,
  bf16: weightsBf16,
  q8_0: inBlocks(weightsQ80),
  q4_0: inBlocks(weightsQ40),
  q4_1: inBlocks(weightsQ41),
  q5_0: inBlocks(weightsQ50),
  q5_1: inBlocks(weightsQ51),
  mxfp4: inBlocks(weightsMxfp4),
  fp8: inBlocks(weightsFp8),
  q2_k: inBlocks(weightsQ2K),
  q3_k: inBlocks(weightsQ3K),
  q4_k: inBlocks(`${weightsKNumbers}\n${weightsQ4K}`),
  q5_k: inBlocks(`${weightsKNumbers}\n${weightsQ5K}`),
  q6_k: inBlocks(weightsQ6K),
};

export const STORAGE_TYPES = Object.keys(STORAGE_SOURCE) as readonly StorageType[];
export const FLOAT_STORAGES: readonly FloatStorage[] = ["f32", "f16", "bf16"];

const bytesOf = (storage: StorageType): number => {
  if (!isBlockStorage(storage)) return storage === "f32" ? 4 : 2;
  const { words, elements } = BLOCK_LAYOUTS[storage];
  return (4 * words) / elements;
};

/** A table with a row for each storage. */
export function byStorage<Row>(row: (storage: StorageType) => Row): Readonly<Record<StorageType, Row>> {
  return Object.fromEntries(STORAGE_TYPES.map((storage) => [storage, row(storage)])) as Record<StorageType, Row>;
}

/** Bytes of an element; of blocks, whose rows are whole, a share of theirs, which a binary fraction holds exactly. */
export const ELEMENT_BYTES = byStorage(bytesOf);

/** Elements that a row in memory is a multiple of: four, since kernels read four at a time, or a block. */
export function rowStep(storage: StorageType): number {
  return isBlockStorage(storage) ? BLOCK_LAYOUTS[storage].elements : 4;
}
