/** Checkpoints that other tools quantised: every weight is the number of its formula, and what is not read is refused by name. */
import { describe, expect, it } from "vitest";
import type { TensorType } from "../../../src/checkpoint/blocks.ts";
import { openCheckpoint } from "../../../src/checkpoint/checkpoint.ts";
import type { Checkpoint, TensorEntry } from "../../../src/checkpoint/index.ts";
import { dequantized } from "../../../src/checkpoint/quantized/checkpoint.ts";
import { readQuantization } from "../../../src/checkpoint/quantized/config.ts";
import { CheckpointError, ConfigError } from "../../../src/errors.ts";
import { loadParts, readFitted } from "../../../src/model/load.ts";
import { Model } from "../../../src/model/model.ts";
import { PieceReader } from "../../../src/model/weights/pieces.ts";
import { planWeights } from "../../../src/model/weights/plan.ts";
import { numbersOf } from "../../../src/model/weights/storage.ts";
import {
  entryOf,
  type FixtureFiles,
  fixtureFiles,
  randomIds,
  readLogits,
  sourceOf,
  valuesOf,
} from "../../support/fixtures.ts";
import { testGpu } from "../../support/gpu.ts";
import { gaussians, relativeError, seeded } from "../../support/numbers.ts";
import { compressed, isQuantized, pairOf, SCHEMES, type Scheme } from "./schemes.ts";

async function opened(files: FixtureFiles, exact = false): Promise<Checkpoint> {
  const quantization = readQuantization(files.config, "config.json");
  if (!quantization) throw new Error("not quantised");
  return dequantized(await openCheckpoint(sourceOf(files)), quantization, () => exact);
}

async function numbers(checkpoint: Checkpoint, name: string, ...range: [number?, number?]): Promise<Float32Array> {
  const dtype = checkpoint.tensors.get(name)?.dtype as TensorType;
  return numbersOf(await checkpoint.read(name, ...range), dtype);
}

describe.each(SCHEMES)("$name", (scheme) => {
  it("is read as the numbers that it stands for", async () => {
    const { quantized, plain } = await pairOf(scheme);
    const checkpoint = await opened(quantized);
    expect([...checkpoint.tensors.keys()].sort()).toEqual(plain.tensors.map(({ name }) => name).sort());
    for (const entry of plain.tensors) {
      const info = checkpoint.tensors.get(entry.name);
      expect(info?.shape).toEqual(entry.shape);
      if (isQuantized(entry)) expect(info?.dtype).toBe(scheme.readAs);
      expect(await numbers(checkpoint, entry.name)).toEqual(valuesOf(entry));
    }
  });

  it("is read in pieces, and as f32 where that is asked for", async () => {
    const { quantized, plain } = await pairOf(scheme);
    const checkpoint = await opened(quantized, true);
    const entry = plain.tensors.find(({ name }) => name.endsWith("layers.1.mlp.down_proj.weight")) as TensorEntry;
    const [rows = 0, width = 0] = entry.shape;
    const { dtype, byteLength } = checkpoint.tensors.get(entry.name) ?? {};
    expect([dtype, byteLength]).toEqual(["F32", 4 * rows * width]);
    for (const [first, last] of [
      [0, 1],
      [rows - 3, rows],
      [7, 26],
    ] as const) {
      const part = await numbers(checkpoint, entry.name, 4 * first * width, 4 * last * width);
      expect(part).toEqual(valuesOf(entry).slice(first * width, last * width));
    }
    // From the middle of a row to the middle of another.
    expect(await numbers(checkpoint, entry.name, 4 * 5, 4 * (width + 9))).toEqual(valuesOf(entry).slice(5, width + 9));
  });
});

/** gpt-oss of the fixture's size, but experts 32 wide, with random weights: its experts in MXFP4, and as the floats of transformers. */
async function gptOss(): Promise<{ quantized: FixtureFiles; plain: FixtureFiles }> {
  const files = await fixtureFiles("../types/gpt_oss");
  const config = { ...files.config, intermediate_size: 32 };
  const random = seeded(3);
  const quantized: TensorEntry[] = [];
  const plain: TensorEntry[] = [];
  for (const tensor of files.tensors) {
    const wide = tensor.shape.map((size, axis) => (/experts\./.test(tensor.name) ? widened(tensor, size, axis) : size));
    const count = wide.reduce((a, b) => a * b, 1);
    if (!/experts\.(gate_up|down)_proj$/.test(tensor.name)) {
      const values = /experts\./.test(tensor.name) ? gaussians(random, count) : valuesOf(tensor);
      for (const list of [quantized, plain]) list.push(entryOf(tensor.name, wide, values));
      continue;
    }
    const [experts = 0, inner = 0, outer = 0] = wide;
    const codes = Uint8Array.from({ length: count / 2 }, () => Math.floor(256 * random()));
    const scales = Uint8Array.from({ length: count / 32 }, () => 120 + Math.floor(4 * random()));
    quantized.push({
      name: `${tensor.name}_blocks`,
      dtype: "U8",
      shape: [experts, outer, inner / 32, 16],
      data: codes,
    });
    quantized.push({ name: `${tensor.name}_scales`, dtype: "U8", shape: [experts, outer, inner / 32], data: scales });
    plain.push(entryOf(tensor.name, wide, turned(mxfp4(codes, scales), experts, outer, inner)));
  }
  const quantization_config = { quant_method: "mxfp4", modules_to_not_convert: ["lm_head"] };
  return {
    quantized: { config: { ...config, quantization_config }, tensors: quantized },
    plain: { config, tensors: plain },
  };
}

/** The fixture's experts are 16 wide, their gate and up together 32; everything else is 32 wide, too. */
const widened = ({ name }: TensorEntry, size: number, axis: number) => {
  const isWidth = name.includes("gate_up")
    ? axis === (name.endsWith("bias") ? 1 : 2)
    : axis === 1 && !name.endsWith("bias");
  return isWidth ? 2 * size : size;
};

/** The numbers of a float of four bits, by its code (https://www.opencompute.org, OCP Microscaling Formats, E2M1). */
const E2M1 = [0, 0.5, 1, 1.5, 2, 3, 4, 6, -0, -0.5, -1, -1.5, -2, -3, -4, -6];

/** transformers' `convert_moe_packed_tensors`: the low half of a byte comes before the high half. */
function mxfp4(codes: Uint8Array, scales: Uint8Array): Float32Array {
  return Float32Array.from({ length: 2 * codes.length }, (_, i) => {
    const byte = codes[i >> 1] as number;
    return (E2M1[i % 2 === 0 ? byte & 15 : byte >> 4] as number) * 2 ** ((scales[i >> 5] as number) - 127);
  });
}

/** [expert, out, in] as [expert, in, out]. */
function turned(values: Float32Array, experts: number, outer: number, inner: number): Float32Array {
  const to = new Float32Array(values.length);
  for (let e = 0; e < experts; e++)
    for (let o = 0; o < outer; o++)
      for (let i = 0; i < inner; i++) to[(e * inner + i) * outer + o] = values[(e * outer + o) * inner + i] as number;
  return to;
}

describe("on the GPU", () => {
  const load = async (files: FixtureFiles, notices: string[] = []) =>
    new Model(await loadParts(sourceOf(files), { gpu: await testGpu(), onNotice: (text) => notices.push(text) }));

  const expectSame = async (quantized: FixtureFiles, plain: FixtureFiles) => {
    const notices: string[] = [];
    using expected = await load(plain);
    using model = await load(quantized, notices);
    const ids = randomIds(model, 3, 17);
    const [actual, wanted] = [await readLogits(model.forward(ids)), await readLogits(expected.forward(ids))];
    expect(relativeError(actual, wanted)).toBeLessThan(1e-5);
    return { notices: notices.filter((text) => !text.includes("token ids only")), weights: model.engine.weights };
  };

  it("int8 lies in blocks of Q8_0, and computes what the numbers compute", async () => {
    const { quantized, plain } = await pairOf(SCHEMES[0] as Scheme);
    const { notices, weights } = await expectSame(quantized, plain);
    expect(weights.blocks.map(({ W_out }) => W_out?.storage)).toEqual(weights.blocks.map(() => "q8_0"));
    expect(notices).toEqual([]);
  });

  it("the same where blocks are read again in each pass", async () => {
    const { quantized } = await pairOf(SCHEMES[0] as Scheme);
    using resident = await load(quantized);
    const parts = await loadParts(sourceOf(quantized), { gpu: await testGpu(), quiet: true, residency: "streamed" });
    using streamed = new Model(parts);
    const ids = randomIds(resident, 5, 9);
    expect(await readLogits(streamed.forward(ids))).toEqual(await readLogits(resident.forward(ids)));
  });

  it("fp8 computes what the numbers compute, and says that activations stay floats", async () => {
    const scheme = SCHEMES.find(({ name }) => name.startsWith("DeepSeek")) as Scheme;
    const { quantized, plain } = await pairOf(scheme);
    const { notices } = await expectSame(quantized, plain);
    expect(notices).toEqual([expect.stringMatching(/made to quantise its activations.*float32/)]);
  });

  it("fp8 in blocks of 128 stays eight bits on the GPU", async () => {
    const scheme = SCHEMES.find(({ readAs }) => readAs === "FP8") as Scheme;
    const { quantized, plain } = await pairOf(scheme);
    const { weights } = await expectSame(quantized, plain);
    expect(weights.blocks.map(({ W_out }) => W_out?.storage)).toEqual(weights.blocks.map(() => "fp8"));
    const bytes = weights.blocks[0]?.W_out?.parts.reduce((sum, { buffer }) => sum + buffer.size, 0);
    expect(bytes).toBe((128 * 256 * 132) / 128);
  });

  it.each(["fp8 of one scale", "int8, one scale"])(
    "%s: matrices that are stored [in, out] are read as floats",
    async (name) => {
      const scheme = SCHEMES.find((each) => each.name === name) as Scheme;
      const { quantized, plain } = await pairOf(scheme, "gpt2", ({ name }) => name.endsWith("c_fc.weight"));
      const { weights } = await expectSame(quantized, plain);
      expect(weights.blocks.map(({ W_in }) => W_in?.storage)).toEqual(weights.blocks.map(() => "f32"));
    },
  );

  it("gate and up of gpt-oss, whose rows come by turns, are read expert by expert", async () => {
    const { quantized } = await gptOss();
    const reads: string[] = [];
    const checkpoint = await openCheckpoint(sourceOf(quantized), {
      onProgress: ({ tensor = "" }) => void reads.push(tensor),
    });
    const { spec, checkpoint: weights } = await readFitted(checkpoint);
    const plan = planWeights(spec, weights);
    const gates = plan.filter(({ place }) => place === "W_experts_gate").flatMap(({ pieces }) => pieces);
    expect(gates).toHaveLength(3 * 4);
    expect(gates[0]?.cut).toEqual({ groups: 32, groupSize: 2, start: 0, count: 1 });
    const reader = new PieceReader(weights, {});
    for (const planned of plan.filter(({ layer }) => layer === 0)) for await (const _ of reader.rowsOf(planned));
    // For gate and for up once each expert.
    expect(reads.filter((name) => name.endsWith("layers.0.mlp.experts.gate_up_proj_blocks"))).toHaveLength(2 * 4);
  });

  it("gpt-oss's experts stay in MXFP4, and compute what the numbers compute", async () => {
    const { quantized, plain } = await gptOss();
    const { weights } = await expectSame(quantized, plain);
    const [first] = weights.blocks;
    expect([first?.W_experts_gate?.storage, first?.W_experts_out?.storage]).toEqual(["mxfp4", "mxfp4"]);
  });
});

describe("refused by name", () => {
  const refused = (quantization: unknown, names: RegExp) =>
    expect(() => readQuantization({ quantization_config: quantization }, "config.json")).toThrow(
      expect.objectContaining({
        code: "config/unsupported",
        message: expect.stringMatching(names),
        name: ConfigError.name,
      }),
    );

  it.each(["gptq", "awq", "bitsandbytes", "quanto", "hqq", "aqlm", "torchao"])("%s", (quant_method) => {
    refused(
      { quant_method },
      new RegExp(`quant_method = "${quant_method}" is not read \\(read: compressed-tensors, fp8, mxfp4\\)`),
    );
  });

  it.each<[unknown, RegExp]>([
    [[], /quantization_config = \[\] is not read/],
    [{ bits: 4 }, /quant_method = missing/],
    [compressed("marlin-24", { strategy: "channel" }), /config_groups\.group_0\.format = "marlin-24"/],
    [compressed("nvfp4-pack-quantized", { strategy: "tensor_group" }), /format = "nvfp4-pack-quantized"/],
    [
      compressed("pack-quantized", { strategy: "group", num_bits: 3 }),
      /weights\.num_bits = 3 is not read \(read: 4, 8\)/,
    ],
    [compressed("int-quantized", { strategy: "group" }), /weights\.group_size = null/],
    [compressed("int-quantized", { strategy: "token" }), /weights\.strategy = "token"/],
    [compressed("int-quantized", { strategy: "group", actorder: "group" }), /weights\.actorder = "group"/],
    [compressed("float-quantized", { strategy: "block" }), /weights\.block_structure = missing/],
    [
      { ...compressed("int-quantized", { strategy: "channel" }), transform_config: { config_groups: {} } },
      /transform_config/,
    ],
    [
      { ...compressed("int-quantized", { strategy: "channel" }), sparsity_config: { format: "sparse-24-bitmask" } },
      /sparsity_config\.format = "sparse-24-bitmask"/,
    ],
    [{ quant_method: "compressed-tensors", config_groups: {} }, /config_groups = \{\}/],
    [{ quant_method: "fp8", fmt: "e5m2" }, /\.fmt = "e5m2"/],
    [{ quant_method: "fp8", weight_block_size: [128] }, /weight_block_size = \[128\]/],
  ])("%j", (quantization, names) => {
    refused(quantization, names);
  });

  it("groups of modules that are quantised in two ways", () => {
    const one = compressed("pack-quantized", { strategy: "channel" });
    const other = compressed("pack-quantized", { strategy: "channel", num_bits: 4 });
    const config_groups = { ...one.config_groups, group_1: other.config_groups.group_0 };
    refused({ ...one, config_groups }, /config_groups = .* \(read: groups that are quantised alike\)/);
  });
});

describe("parts that do not fit together", () => {
  const INT8 = SCHEMES[0] as Scheme;
  const broken = async (scheme: Scheme, change: (tensor: TensorEntry) => TensorEntry | undefined, names: RegExp) => {
    const { quantized } = await pairOf(scheme);
    const tensors = quantized.tensors.flatMap((tensor) => change(tensor) ?? []);
    await expect(readFitted(await openCheckpoint(sourceOf({ ...quantized, tensors })))).rejects.toSatisfy(
      (error) => error instanceof CheckpointError && names.test(error.message),
    );
  };
  const isFirst = (name: string) => name.startsWith("model.layers.0.mlp.up_proj.weight");

  it("scales of another shape", async () => {
    await broken(
      INT8,
      (tensor) =>
        tensor.name.endsWith("up_proj.weight_scale")
          ? { ...tensor, shape: [tensor.shape[0] ?? 0, 1, 1].reverse() }
          : tensor,
      /up_proj\.weight is quantised, and model\.layers\.0\.mlp\.up_proj\.weight_scale of the shape/,
    );
  });

  it("scales of groups of another size than the config's", async () => {
    const scheme = SCHEMES.find(({ name }) => name === "int8, groups of 16") as Scheme;
    const quantization = compressed("int-quantized", { strategy: "group", group_size: 8 });
    await broken(
      { ...scheme, quantization },
      (tensor) => tensor,
      /weight_scale has 4 scales for 64 columns, .* of 8 do/,
    );
    const twoSizes = {
      ...quantization.config_groups,
      group_1: (scheme.quantization as typeof quantization).config_groups.group_0,
    };
    const { quantized, plain } = await pairOf({
      ...scheme,
      quantization: { ...quantization, config_groups: twoSizes },
    });
    const name = "model.layers.0.mlp.up_proj.weight";
    const expected = valuesOf(plain.tensors.find((tensor) => tensor.name === name) as TensorEntry);
    expect(await numbers(await opened(quantized), name)).toEqual(expected);
  });

  it("f8 without its scale", async () => {
    const scheme = SCHEMES.find(({ name }) => name === "fp8, a scale a row") as Scheme;
    await broken(
      scheme,
      (tensor) => (isFirst(tensor.name) && tensor.name.endsWith("_scale") ? undefined : tensor),
      /is F8_E4M3, and there is no model\.layers\.0\.mlp\.up_proj\.weight_scale/,
    );
  });

  it("codes without their scale", async () => {
    await broken(
      INT8,
      (tensor) => (isFirst(tensor.name) && tensor.name.endsWith("_scale") ? undefined : tensor),
      /up_proj\.weight is I8; weights must be a float type/,
    );
  });

  it("codes of another type", async () => {
    await broken(
      INT8,
      (tensor) => (isFirst(tensor.name) && tensor.dtype === "I8" ? { ...tensor, dtype: "U8" } : tensor),
      /up_proj\.weight is quantised, and is U8, and compressed-tensors, int-quantized has I8 or F8_E4M3/,
    );
  });

  it("columns in an order of their own", async () => {
    const { quantized } = await pairOf(INT8);
    const order = {
      name: "model.layers.0.mlp.up_proj.weight_g_idx",
      dtype: "I32" as const,
      shape: [32],
      data: new Int32Array(32),
    };
    await expect(opened({ ...quantized, tensors: [...quantized.tensors, order] })).rejects.toMatchObject({
      code: "checkpoint/quantized",
      message: expect.stringContaining("up_proj.weight_g_idx gives columns an order of their own"),
    });
  });

  it("f8 that is no number, until the model is loaded in float32", async () => {
    const scheme = SCHEMES.find(({ readAs }) => readAs === "FP8") as Scheme;
    const { quantized } = await pairOf(scheme);
    const tensors = quantized.tensors.map((tensor) =>
      isFirst(tensor.name) && tensor.dtype === "F8_E4M3"
        ? { ...tensor, data: Uint8Array.from(tensor.data as Uint8Array, (code, i) => (i === 700 ? 0xff : code)) }
        : tensor,
    );
    const name = "model.layers.0.mlp.up_proj.weight";
    const files = { ...quantized, tensors };
    await expect((await opened(files)).read(name)).rejects.toMatchObject({
      code: "checkpoint/not-representable",
      message: expect.stringMatching(/up_proj\.weight has a NaN\. Load the model with dtype: "float32"/),
    });
    expect((await numbers(await opened(files, true), name))[700]).toBeNaN();
  });

  it("a scale that f16 cannot hold, until the model is loaded in float32", async () => {
    const { quantized } = await pairOf(INT8);
    const tensors = quantized.tensors.map((tensor) =>
      isFirst(tensor.name) && tensor.dtype === "BF16"
        ? { ...tensor, data: Uint16Array.from(tensor.data as Uint16Array, () => 0x0081) }
        : tensor,
    );
    const files = { ...quantized, tensors };
    const gpu = await testGpu();
    await expect(loadParts(sourceOf(files), { gpu, quiet: true })).rejects.toMatchObject({
      code: "checkpoint/not-representable",
      message: expect.stringContaining('dtype: "float32"'),
    });
    new Model(await loadParts(sourceOf(files), { gpu, quiet: true, dtype: "float32" })).destroy();
  });
});
