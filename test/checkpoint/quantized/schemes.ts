/**
 * Weights as other tools quantise them: a row for each way, which makes a weight's tensors of it and the numbers that these stand
 * for. The numbers are computed one by one from the formulas of compressed-tensors and transformers, on plain arrays.
 */
import { type Dtype, f32ToBf16, f32ToF16, type TensorEntry, toFloat32 } from "../../../src/checkpoint/index.ts";
import { entryOf, type FixtureFiles, fixtureFiles, valuesOf } from "../../support/fixtures.ts";
import { gaussians, seeded } from "../../support/numbers.ts";

/** The tensors of a quantised weight, and what they stand for, [rows, columns]. */
export interface Quantized {
  tensors: TensorEntry[];
  values: Float32Array;
}

export interface Scheme {
  name: string;
  quantization: Record<string, unknown>;
  /** The type that the weights are read as. */
  readAs: string;
  quantize(weight: TensorEntry): Quantized;
  /** How many times as wide as the fixture the model is; its weights are random then. */
  wider?: number;
}

type Kind = "I8" | "F8_E4M3" | "packed 4" | "packed 8";

interface Way {
  codes: Kind;
  /** Rows and columns that share a scale. */
  block: (rows: number, columns: number) => [number, number];
  scale: "F32" | "BF16" | "F16";
  /** The shape in which the scales are stored; [rows, columns] of scales otherwise. */
  scaleShape?: number[];
  hasZeros?: boolean;
  suffix: string;
}

const rounders = { F32: (x: Float32Array) => x, BF16: f32ToBf16, F16: f32ToF16 };
const bytesOf = (data: ArrayBufferView) => new Uint8Array(data.buffer, data.byteOffset, data.byteLength);

/** Every f8 by its code. */
const F8 = toFloat32(
  Uint8Array.from({ length: 256 }, (_, i) => i),
  "F8_E4M3",
);

/** The code whose f8 is nearest. */
function f8Code(value: number): number {
  let best = 0;
  for (let code = 0; code < 256; code++)
    if (Math.abs((F8[code] as number) - value) < Math.abs((F8[best] as number) - value)) best = code;
  return best;
}

const RANGE: Record<Kind, number> = { I8: 127, F8_E4M3: 448, "packed 4": 7, "packed 8": 127 };

function quantize(weight: TensorEntry, way: Way): Quantized {
  const [rows = 0, columns = 0] = weight.shape;
  const source = valuesOf(weight);
  const [high, wide] = way.block(rows, columns);
  const [down, across] = [Math.ceil(rows / high), Math.ceil(columns / wide)];
  const largest = new Float32Array(down * across);
  const groupOf = (row: number, column: number) => Math.floor(row / high) * across + Math.floor(column / wide);
  const each = (visit: (row: number, column: number) => void) => {
    for (let row = 0; row < rows; row++) for (let column = 0; column < columns; column++) visit(row, column);
  };
  each((row, column) => {
    const group = groupOf(row, column);
    largest[group] = Math.max(largest[group] as number, Math.abs(source[row * columns + column] as number));
  });
  const most = RANGE[way.codes];
  const scaleBytes = rounders[way.scale](largest.map((value) => value / most));
  const scales = toFloat32(bytesOf(scaleBytes), way.scale);
  const zeros = Int8Array.from(scales, (_, group) => (way.hasZeros ? (group % 5) - 2 : 0));
  const codes = new Int16Array(rows * columns);
  const values = new Float32Array(rows * columns);
  each((row, column) => {
    const [at, group] = [row * columns + column, groupOf(row, column)];
    const [scale, zero] = [scales[group] as number, zeros[group] as number];
    const wanted = (source[at] as number) / scale;
    const code =
      way.codes === "F8_E4M3" ? f8Code(wanted) : Math.max(-most - 1, Math.min(most, Math.round(wanted) + zero));
    codes[at] = code;
    values[at] = ((way.codes === "F8_E4M3" ? (F8[code] as number) : code) - zero) * scale;
  });
  const scaleEntry = {
    name: weight.name + way.suffix,
    dtype: way.scale as Dtype,
    shape: way.scaleShape ?? [down, across],
    data: scaleBytes,
  };
  const zeroEntry = way.hasZeros ? [zeroTensor(weight.name, way.codes, zeros, down, across)] : [];
  return { tensors: [...codeTensors(weight, way.codes, codes), scaleEntry, ...zeroEntry], values };
}

function codeTensors({ name, shape }: TensorEntry, kind: Kind, codes: Int16Array): TensorEntry[] {
  if (kind === "I8") return [{ name, dtype: "I8", shape, data: Int8Array.from(codes) }];
  if (kind === "F8_E4M3") return [{ name, dtype: "F8_E4M3", shape, data: Uint8Array.from(codes) }];
  const [rows = 0, columns = 0] = shape;
  const bits = kind === "packed 4" ? 4 : 8;
  const data = packed(codes, rows, columns, bits);
  const size = BigInt64Array.from(shape, BigInt);
  return [
    { name: `${name}_packed`, dtype: "I32", shape: [rows, data.length / rows], data },
    { name: `${name}_shape`, dtype: "I64", shape: [2], data: size },
  ];
}

/** Rows of codes in words, each code more by half the range. */
function packed(codes: ArrayLike<number>, rows: number, columns: number, bits: number): Int32Array {
  const perWord = 32 / bits;
  const words = Math.ceil(columns / perWord);
  const out = new Int32Array(rows * words);
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++) {
      const code = (codes[row * columns + column] as number) + 2 ** (bits - 1);
      const word = row * words + Math.floor(column / perWord);
      out[word] = (out[word] as number) | (code << (bits * (column % perWord)));
    }
  return out;
}

function zeroTensor(name: string, kind: Kind, zeros: Int8Array, down: number, across: number): TensorEntry {
  const named = { name: `${name}_zero_point` };
  if (kind === "I8") return { ...named, dtype: "I8", shape: [down, across], data: zeros };
  // Packed along the rows: the words of a group are one below the other.
  const bits = kind === "packed 4" ? 4 : 8;
  const turned = Int8Array.from(zeros, (_, i) => zeros[(i % down) * across + Math.floor(i / down)] as number);
  const words = packed(turned, across, down, bits);
  const perGroup = words.length / across;
  const data = Int32Array.from(words, (_, i) => words[(i % across) * perGroup + Math.floor(i / across)] as number);
  return { ...named, dtype: "I32", shape: [perGroup, across], data };
}

/** `quantization_config` of compressed-tensors. */
export function compressed(format: string, weights: Record<string, unknown>, more: Record<string, unknown> = {}) {
  return {
    quant_method: "compressed-tensors",
    quantization_status: "compressed",
    format,
    ignore: ["lm_head"],
    kv_cache_scheme: null,
    sparsity_config: {},
    transform_config: {},
    config_groups: {
      group_0: {
        targets: ["Linear"],
        weights: {
          num_bits: 8,
          type: "int",
          symmetric: true,
          group_size: null,
          actorder: null,
          dynamic: false,
          ...weights,
        },
        input_activations: null,
        output_activations: null,
        ...more,
      },
    },
  };
}

const row = (_: number, columns: number): [number, number] => [1, columns];
const all = (rows: number, columns: number): [number, number] => [rows, columns];
const groups = (width: number) => (): [number, number] => [1, width];

const scheme = (name: string, quantization: Record<string, unknown>, readAs: string, way: Way): Scheme => ({
  name,
  quantization,
  readAs,
  quantize: (weight) => quantize(weight, way),
});

const ct = { suffix: "_scale" } as const;
const f8 = { suffix: "_scale_inv", codes: "F8_E4M3" } as const;

export const SCHEMES: readonly Scheme[] = [
  scheme("int8, a bf16 scale a row", compressed("int-quantized", { strategy: "channel" }), "Q8_0", {
    ...ct,
    codes: "I8",
    block: row,
    scale: "BF16",
  }),
  scheme("int8, an f32 scale a row", compressed("int-quantized", { strategy: "channel" }), "F32", {
    ...ct,
    codes: "I8",
    block: row,
    scale: "F32",
  }),
  scheme("int8, one scale", compressed("naive-quantized", { strategy: "tensor" }), "Q8_0", {
    ...ct,
    codes: "I8",
    block: all,
    scale: "F16",
    scaleShape: [1],
  }),
  scheme("int8 with zero points", compressed("int-quantized", { strategy: "channel", symmetric: false }), "F32", {
    ...ct,
    codes: "I8",
    block: row,
    scale: "BF16",
    hasZeros: true,
  }),
  scheme("int8, groups of 16", compressed("int-quantized", { strategy: "group", group_size: 16 }), "F32", {
    ...ct,
    codes: "I8",
    block: groups(16),
    scale: "BF16",
  }),
  scheme("fp8, a scale a row", compressed("float-quantized", { strategy: "channel", type: "float" }), "F32", {
    ...ct,
    codes: "F8_E4M3",
    block: row,
    scale: "BF16",
  }),
  scheme(
    "fp8, blocks of compressed-tensors",
    compressed("float-quantized", { strategy: "block", block_structure: [16, 16], type: "float" }),
    "F32",
    { ...ct, codes: "F8_E4M3", block: () => [16, 16], scale: "BF16" },
  ),
  scheme(
    "four bits packed, groups of 32",
    compressed("pack-quantized", { strategy: "group", group_size: 32, num_bits: 4 }),
    "Q4_0",
    { ...ct, codes: "packed 4", block: groups(32), scale: "F16" },
  ),
  scheme(
    "four bits packed with zero points",
    compressed("pack-quantized", { strategy: "group", group_size: 16, num_bits: 4, symmetric: false }),
    "F32",
    { ...ct, codes: "packed 4", block: groups(16), scale: "BF16", hasZeros: true },
  ),
  scheme("eight bits packed, a scale a row", compressed("pack-quantized", { strategy: "channel" }), "Q8_0", {
    ...ct,
    codes: "packed 8",
    block: row,
    scale: "BF16",
  }),
  scheme(
    "DeepSeek's fp8, blocks that end within the edge",
    { quant_method: "fp8", activation_scheme: "dynamic", fmt: "e4m3", weight_block_size: [24, 24] },
    "F32",
    { ...f8, block: () => [24, 24], scale: "F32" },
  ),
  {
    ...scheme(
      "fp8 in blocks of 128",
      { quant_method: "fp8", activation_scheme: "dynamic", fmt: "e4m3", weight_block_size: [128, 128] },
      "FP8",
      { ...f8, block: () => [128, 128], scale: "F32" },
    ),
    wider: 4,
  },
  {
    ...scheme(
      "fp8, a scale a row of 128",
      compressed("float-quantized", { strategy: "channel", type: "float" }),
      "FP8",
      {
        ...ct,
        codes: "F8_E4M3",
        block: row,
        scale: "BF16",
      },
    ),
    wider: 4,
  },
  scheme("fp8 of one scale", { quant_method: "fp8", activation_scheme: "static", weight_block_size: null }, "F32", {
    ...f8,
    block: all,
    scale: "BF16",
    scaleShape: [],
  }),
];

export const isQuantized = ({ name }: TensorEntry) => /_proj\.weight$/.test(name);

/** A fixture with all its sizes but the vocabulary's so many times as large, and random weights. */
function widened({ config, tensors }: FixtureFiles, times: number): FixtureFiles {
  const random = seeded(11);
  const sizes = ["hidden_size", "intermediate_size", "head_dim"].map((key) => [key, times * Number(config[key])]);
  return {
    config: { ...config, ...Object.fromEntries(sizes) },
    tensors: tensors.map(({ name, shape }) => {
      const wide = shape.map((size) => (size === config.vocab_size ? size : times * size));
      const count = wide.reduce((a, b) => a * b, 1);
      return entryOf(
        name,
        wide,
        gaussians(random, count).map((value) => 0.1 * value),
      );
    }),
  };
}

/** A fixture with its projections quantised, and the same with the numbers that they stand for. */
export async function pairOf(
  { quantization, quantize, wider }: Scheme,
  family = "llama",
  isCoded = isQuantized,
): Promise<{ quantized: FixtureFiles; plain: FixtureFiles }> {
  const fixture = await fixtureFiles(family);
  const { config, tensors } = wider ? widened(fixture, wider) : fixture;
  const made = tensors.map((tensor) => {
    if (!isCoded(tensor)) return { own: [tensor], plain: tensor };
    const { tensors: own, values } = quantize(tensor);
    return { own, plain: entryOf(tensor.name, tensor.shape, values) };
  });
  return {
    quantized: { config: { ...config, quantization_config: quantization }, tensors: made.flatMap(({ own }) => own) },
    plain: { config, tensors: made.map(({ plain }) => plain) },
  };
}
