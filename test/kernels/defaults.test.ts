/** Which kernels each kind of adapter takes without being tuned, and that this one offers what they need. */
import { describe, expect, it } from "vitest";
import { ATTENTION_FAMILY } from "../../src/kernels/attention.ts";
import type { DeviceFacts } from "../../src/kernels/family.ts";
import { MATMUL_FAMILY } from "../../src/kernels/matmul.ts";
import { NORM_FAMILY } from "../../src/kernels/norm.ts";
import { testGpu } from "../support/gpu.ts";

/** As much of a device as the choice depends on. */
function adapter(kind: string, host: string, subgroupMinSize: number | undefined): DeviceFacts {
  const features = new Set(subgroupMinSize ? ["subgroups"] : []);
  const adapterInfo = { kind, host, isSoftware: kind !== "hardware", subgroupMinSize };
  const limits = { maxComputeInvocationsPerWorkgroup: 256 };
  return { adapterInfo, features, limits } as unknown as DeviceFacts;
}

const ADAPTERS = {
  "lavapipe under Dawn": adapter("lavapipe", "node", 8),
  "lavapipe under wgpu": adapter("lavapipe", "deno", undefined),
  "SwiftShader under Dawn": adapter("swiftshader", "chromium", 4),
  hardware: adapter("hardware", "chromium", 32),
};

/** Matmuls of 1, 4, 8, 32, 33 and 128 rows: [in, out], [out, in]. */
const MATMULS_TAKEN: Record<keyof typeof ADAPTERS, [string[], string[]]> = {
  "lavapipe under Dawn": [
    ["lanes 16x8", "broadcast 4x8x8", "broadcast 8x8x8", "broadcast 32x8x8", "broadcast 32x8x8", "broadcast 32x8x8"],
    ["lanes 8x8", "broadcast 4x8x8", "broadcast 8x8x8", "broadcast 32x4x8", "broadcast 32x4x8", "broadcast 32x4x8"],
  ],
  "lavapipe under wgpu": [
    ["lanes 16x8", "block 4x8x8", "block 8x8x8", "block 16x8x8", "block 16x8x8", "block 16x8x8"],
    ["lanes 8x8", "block 4x8x8", "block 8x8x8", "block 16x8x8", "block 16x8x8", "block 16x8x8"],
  ],
  "SwiftShader under Dawn": [
    [
      "lanes 16x8, 2 a step",
      "broadcast 4x8x4",
      "broadcast 8x8x4",
      "broadcast 16x4x4",
      "broadcast 16x4x4",
      "broadcast 16x4x4",
    ],
    ["lanes 8x8", "broadcast 4x8x4", "broadcast 8x8x4", "broadcast 16x8x4", "broadcast 16x8x4", "broadcast 16x8x4"],
  ],
  hardware: [
    ["shared 16x16", "shared 16x16", "tiled 32x32", "tiled 32x32", "tiled 64x64", "tiled 64x64"],
    ["shared 4x16", "shared 4x16", "tiled 32x32", "tiled 32x32", "tiled 64x64", "tiled 64x64"],
  ],
};

/** Attention of a prompt, of one row before 255 keys and before 256, and of 42 and 43 rows before 256; 12 heads of 64. */
const ATTENTIONS_TAKEN: Record<keyof typeof ADAPTERS, string[]> = {
  "lavapipe under Dawn": ["broadcast rows", "subgroup keys", "subgroup keys", "subgroup keys", "subgroup keys"],
  "lavapipe under wgpu": ["rows", "keys", "keys", "keys", "keys"],
  "SwiftShader under Dawn": ["broadcast rows", "subgroup keys", "subgroup keys", "subgroup keys", "subgroup keys"],
  hardware: ["tiled", "single", "split", "split", "single"],
};

describe.each(Object.keys(ADAPTERS) as (keyof typeof ADAPTERS)[])("%s", (name) => {
  const device = ADAPTERS[name];

  it("takes these matmuls", () => {
    const taken = (["conv1d", "linear"] as const).map((layout) =>
      [1, 4, 8, 32, 33, 128].map((rows) => MATMUL_FAMILY.defaultFor(device, { rows, layout, storage: "f32" }).name),
    );
    expect(taken).toEqual(MATMULS_TAKEN[name]);
  });

  it("takes these attentions", () => {
    const pass = (rowCount: number, keyCount: number, runs = rowCount) => ({
      rowCount,
      keyCount,
      runs,
      nHeads: 12,
      dHead: 64,
    });
    const passes = [pass(128, 128, 1), pass(1, 255), pass(1, 256), pass(42, 256), pass(43, 256)];
    const taken = passes.map((each) => ATTENTION_FAMILY.defaultFor(device, each));
    expect(taken.map((each) => each.name)).toEqual(ATTENTIONS_TAKEN[name]);
  });

  it("takes four rows an invocation for narrow heads, where rows of a sequence are many", () => {
    const shape = { rowCount: 128, keyCount: 128, nHeads: 4 };
    const taken = [
      { dHead: 16, runs: 8 },
      { dHead: 16, runs: 9 },
      { dHead: 20, runs: 8 },
    ].map((each) => ATTENTION_FAMILY.defaultFor(device, { ...shape, ...each }).name);
    const otherwise = ATTENTIONS_TAKEN[name][0] as string;
    const narrow = device.features.has("subgroups") && name !== "hardware" ? "lanes" : otherwise;
    expect(taken).toEqual([narrow, otherwise, otherwise]);
  });

  it("norms widths of whole vec4 by row where it is software, all others by workgroup", () => {
    const taken = [768, 767].map((width) => NORM_FAMILY.defaultFor(device, { rows: 3, width }).name);
    expect(taken).toEqual([name === "hardware" ? "by workgroup" : "by row", "by workgroup"]);
  });
});

it("gives SwiftShader under wgpu no blocks of 16 columns, which it compiles for minutes", () => {
  const fitting = (device: DeviceFacts) =>
    [8, 128].flatMap((rows) =>
      MATMUL_FAMILY.candidates
        .filter((each) => each.fits(device, { rows, layout: "conv1d", storage: "f32" }))
        .map(({ name }) => name),
    );
  const refused = fitting(ADAPTERS["lavapipe under wgpu"]).filter(
    (name) => !fitting(adapter("swiftshader", "deno", undefined)).includes(name),
  );
  expect(refused).toEqual(["block 8x16x8", "block 16x16x8"]);
});

describe("the adapter of these tests", () => {
  it("offers subgroups where it is software: without, their kernels would go untested", async () => {
    const { adapterInfo, features } = (await testGpu()).host;
    if (!adapterInfo.isSoftware) return;
    expect(features).toContain("subgroups");
    expect([4, 8]).toContain(adapterInfo.subgroupMinSize);
  });
});

it("runs reference kernels where a run asks for them, whatever was tuned", async () => {
  const gpu = await testGpu();
  const shape = { rows: 1, layout: "linear", storage: "f32" } as const;
  expect(MATMUL_FAMILY.choose({ gpu, kernels: "reference" }, shape)).toBe(MATMUL_FAMILY.reference);
  expect(MATMUL_FAMILY.choose({ gpu }, shape)).not.toBe(MATMUL_FAMILY.reference);
});
