/** Bugs of reading weights that other tools quantised: a scale, a code or a zero point from the wrong place. */
import type { Mutant } from "./mutant.ts";

const READ = ["test/checkpoint/quantized/read.test.ts"];
const SAVE = ["test/train/save.test.ts"];
const SCALED = "src/checkpoint/quantized/scaled.ts";

export const QUANTIZED_MUTANTS: readonly Mutant[] = [
  {
    name: "quantized: rows of a block each have the scale of the first row",
    file: SCALED,
    from: "Math.floor((row % height) / high)",
    to: "0",
    tests: READ,
  },
  {
    name: "quantized: a read from the middle takes the scales of the first rows",
    file: SCALED,
    from: "const [from, to] = [scaleRow(first) * perRow, (scaleRow(last - 1) + 1) * perRow];",
    to: "const [from, to] = [0, (scaleRow(last - 1) - scaleRow(first) + 1) * perRow];",
    tests: READ,
  },
  {
    name: "quantized: zero points are left out",
    file: SCALED,
    from: "?? code) - zero) * scale",
    to: "?? code) - 0 * zero) * scale",
    tests: READ,
  },
  {
    name: "quantized: packed codes come from the highest bits",
    file: SCALED,
    from: "(word & mask) - half",
    to: "(word >>> (32 - bits)) - half",
    tests: READ,
  },
  {
    name: "quantized: scales that f16 cannot hold are rounded",
    file: SCALED,
    from: "if (lost < 0) return",
    to: "if (lost < scales.length) return",
    tests: READ,
  },
  {
    name: "quantized: integers with zero points become blocks that have none",
    file: SCALED,
    from: "if (zeros || !BLOCKS",
    to: "if (!BLOCKS",
    tests: READ,
  },
  {
    name: "quantized: blocks of what has to be turned stay blocks",
    file: "src/model/load.ts",
    from: "return turned.size === 0 ?",
    to: "return turned.size >= 0 ?",
    tests: READ,
  },
  {
    name: "quantized: NaN in eight bits becomes 480",
    file: SCALED,
    from: "=== 0x7f)) throw",
    to: "=== 0xff)) throw",
    tests: READ,
  },
  {
    name: "quantized: the smallest floats of eight bits have a leading one",
    file: "shaders/weights_fp8.wgsl",
    from: "let number = min(size, size + size - vec4<f32>(0x1p-6));",
    to: "let number = size;",
    tests: ["test/kernels/fp8.test.ts"],
  },
  {
    name: "quantized: a block of FP8 has the scale of the first",
    file: "shaders/weights_fp8.wgsl",
    from: "weights[unit / 8u * 33u + 32u]",
    to: "weights[32u]",
    tests: READ,
  },
  {
    name: "quantized: MXFP4's codes keep OpenAI's order in ggml's blocks",
    file: "src/checkpoint/quantized/mxfp4.ts",
    from: "(first & 15) | ((later & 15) << 4)",
    to: "first",
    tests: READ,
  },
  {
    name: "quantized: MXFP4's experts are taken for [expert, in, out]",
    file: "src/checkpoint/quantized/mxfp4.ts",
    from: "isTurned: true",
    to: "isTurned: false",
    tests: READ,
  },
  {
    name: "quantized: f8 without a scale passes for floats",
    file: "src/checkpoint/quantized/checkpoint.ts",
    from: 'dtype.startsWith("F8_")',
    to: 'dtype.startsWith("F8__")',
    tests: READ,
  },
  {
    name: "quantized: groups of modules that differ are read as the first",
    file: "src/checkpoint/quantized/config.ts",
    from: "others.some((other) => shape(other) !== shape(first))",
    to: "others.length < 0",
    tests: READ,
    quick: true,
  },
  {
    name: "quantized: nobody is told that activations stay floats",
    file: "src/model/load.ts",
    from: "if (quantization?.quantizesActivations)",
    to: "if (quantization?.quantizesActivations === undefined)",
    tests: READ,
  },
  {
    name: "pieces: of rows in turn, neighbours are taken",
    file: "src/model/weights/pieces.ts",
    from: "const from = group * groupSize * rowBytes;",
    to: "const from = group * count * rowBytes;",
    tests: ["test/checkpoint/gguf/architectures.test.ts"],
  },
  {
    name: "save: a tensor that was read the other way round is saved that way",
    file: "src/model/weights/tensors.ts",
    from: "return isTurned ? [...shape.slice(0, -2), ...shape.slice(-2).reverse()] : shape;",
    to: "return shape;",
    tests: SAVE,
  },
  {
    name: "save: GPT-2's merges are cut at the worst pair",
    file: "src/tokenizer/gpt2-files.ts",
    from: "Math.min(...made)",
    to: "Math.max(...made)",
    tests: SAVE,
  },
  {
    name: "save: the config goes on about a quantisation that is undone",
    file: "src/train/save.ts",
    from: "const { quantization_config: _, ...kept } = config;",
    to: "const { ...kept } = config;",
    tests: SAVE,
  },
];
