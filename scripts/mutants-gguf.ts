/** Bugs of reading GGUF files: bits from the wrong place, rows in the wrong order, settings and damage that go unseen. */
import type { Mutant } from "./mutant.ts";

const BLOCKS = ["test/checkpoint/gguf/blocks.test.ts"];
const HEADER = ["test/checkpoint/gguf/header.test.ts"];
const ARCHITECTURES = ["test/checkpoint/gguf/architectures.test.ts"];
const TOKENIZER = ["test/checkpoint/gguf/tokenizer.test.ts"];

export const GGUF_MUTANTS: readonly Mutant[] = [
  {
    name: "gguf: the later scales of Q4_K and Q5_K lose their high bits",
    file: "src/checkpoint/gguf/blocks.ts",
    from: "(byte(g + 4) & 15) | ((byte(g - 4) >>> 6) << 4)",
    to: "byte(g + 4) & 15",
    tests: BLOCKS,
    quick: true,
  },
  {
    name: "gguf: the high bits of Q6_K come from the other half",
    file: "src/checkpoint/gguf/blocks.ts",
    from: "block.getUint8(at + 128 + 32 * half + (i & 31))",
    to: "block.getUint8(at + 128 + (i & 31))",
    tests: BLOCKS,
  },
  {
    name: "gguf: tensors may share bytes",
    file: "src/checkpoint/gguf/header.ts",
    from: "before.byteEnd > byteStart",
    to: "before.byteEnd > byteStart + 1e9",
    tests: HEADER,
  },
  {
    name: "gguf: a count is not compared with the file",
    file: "src/checkpoint/gguf/header.ts",
    from: "if (count > BigInt(room))",
    to: "if (count > 2n ** 63n)",
    tests: HEADER,
  },
  {
    name: "gguf: rows of queries stay in pairs",
    file: "src/checkpoint/gguf/read-rows.ts",
    from: "(pairedRow(row, dHead) - start) * rowBytes",
    to: "(row - start) * rowBytes",
    tests: ARCHITECTURES,
  },
  {
    name: "gguf: Gemma's norms keep the one that was added",
    file: "src/checkpoint/gguf/open.ts",
    from: "architecture?.normsPlusOne && /norm\\.weight$/.test(name) ? 1 : 0",
    to: "0",
    tests: ARCHITECTURES,
  },
  {
    name: "gguf: a setting that is not known is passed over",
    file: "src/checkpoint/gguf/config.ts",
    from: "settings.refuseOthers(IDLE_KEYS, NEUTRAL);",
    to: "",
    tests: ARCHITECTURES,
  },
  {
    name: "gguf: a tensor that is not known is passed over",
    file: "src/checkpoint/gguf/open.ts",
    from: "everyTensorCounts: true,",
    to: "",
    tests: ARCHITECTURES,
  },
  {
    name: "gguf: every expert is the first one",
    file: "src/checkpoint/gguf/open.ts",
    from: "tensor.byteStart + expert * bytes",
    to: "tensor.byteStart",
    tests: ARCHITECTURES,
  },
  {
    name: "gguf: of gpt-oss's gate and up, the up's rows come first",
    file: "src/checkpoint/gguf/read-rows.ts",
    from: "[even, odd].entries()",
    to: "[odd, even].entries()",
    tests: ARCHITECTURES,
  },
  {
    name: "gguf: a read that begins at an odd row begins at the even one before",
    file: "src/checkpoint/gguf/read-rows.ts",
    from: "out.subarray((first - 2 * from) * rowBytes",
    to: "out.subarray(0 * rowBytes",
    tests: ARCHITECTURES,
  },
  {
    name: "gguf: layers without a router are mixtures, too",
    file: "src/checkpoint/gguf/architectures.ts",
    from: "filter((layer) => !has(",
    to: "filter((layer) => layer < 0 && !has(",
    tests: ARCHITECTURES,
  },
  {
    name: "gguf: gpt-oss rounds the bounds of YaRN's ramp",
    file: "src/checkpoint/gguf/architectures.ts",
    from: "fixedRope: { truncate: false },",
    to: "",
    tests: ARCHITECTURES,
  },
  {
    name: "gguf: any rope_freqs is taken for Llama 3's",
    file: "src/checkpoint/gguf/rope.ts",
    from: "<= 1e-4 * each",
    to: "<= 1e4 * each",
    tests: ARCHITECTURES,
  },
  {
    name: "gguf: SentencePiece's merges come worst first",
    file: "src/checkpoint/gguf/spm-merges.ts",
    from: "(scores[b] as number) - (scores[a] as number)",
    to: "(scores[a] as number) - (scores[b] as number)",
    tests: TOKENIZER,
  },
  {
    name: "blocks: the upper halves of a byte are the lower ones again",
    file: "shaders/weights_q4_1.wgsl",
    from: "four / 4u % 2u * 4u",
    to: "0u",
    tests: ["test/kernels/matmul.test.ts"],
  },
  {
    name: "blocks: kernels that walk blocks take the first scale for both",
    file: "shaders/weights_q8_0.wgsl",
    from: "select(scales.x, scales.y, unit >= 2u)",
    to: "scales.x",
    tests: ["test/engine/quantized.test.ts"],
  },
  {
    name: "blocks: q4_0 is scaled by the magnitude, so that the largest number loses its sign",
    file: "src/checkpoint/blocks.ts",
    from: "(most > 0 ? Math.abs(largest) : largest)",
    to: "Math.abs(largest)",
    tests: ["test/checkpoint/quantize.test.ts"],
  },
];
