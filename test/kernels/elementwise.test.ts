/** Kernels with one invocation an element: embedding, addition, activation, sums over heads, copies. */
import { describe, expect, it } from "vitest";
import { f32ToBf16, f32ToF16, toFloat32 } from "../../src/checkpoint/index.ts";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { combine, embed, gather } from "../../src/kernels/calls.ts";
import { SUM_HEADS } from "../../src/kernels/definitions.ts";
import { elementwise, selectRows } from "../../src/kernels/elementwise.ts";
import type { Matrix, MatrixPart } from "../../src/kernels/matrix.ts";
import type { FloatStorage as StorageType } from "../../src/kernels/storage.ts";
import { packedView } from "../../src/kernels/view.ts";
import { ACTIVATION_NAMES, ACTIVATIONS, softCapped } from "../../src/ops/activations.ts";
import { testGpu } from "../support/gpu.ts";
import { gaussians, relativeError, seeded } from "../support/numbers.ts";
import { compute } from "./compute.ts";
import { describeOnGrids, dispatchGroups } from "./harness.ts";

/** Columns of the row table: sequence, position, slot, token. */
const rowTableOf = (rows: readonly [position: number, token: number][]) =>
  Uint32Array.from(rows.flatMap(([position, token]) => [77, position, 99, token]));

const ROWS: [position: number, token: number][] = [
  [0, 4],
  [1, 0],
  [5, 10],
  [2, 4],
  [3, 9],
];

/** A table [rows, width] of a storage type, cut into parts; its padding holds sevens. */
function tableOn(gpu: Gpu, values: Float32Array, width: number, storage: StorageType, partRows: readonly number[]) {
  const stride = Math.ceil(width / 4) * 4;
  const outWidth = values.length / width;
  const parts: MatrixPart[] = [];
  let firstRow = 0;
  for (const rows of partRows) {
    const padded = new Float32Array(rows * stride).fill(7);
    for (let row = 0; row < rows; row++) {
      const from = (firstRow + row) * width;
      padded.set(values.subarray(from, from + width), row * stride);
    }
    const packed = { f32: () => padded, f16: () => f32ToF16(padded), bf16: () => f32ToBf16(padded) }[storage]();
    const tensor = gpu.tensorFrom(new Uint32Array(packed.buffer), [packed.byteLength / 4], "table");
    parts.push({ buffer: tensor.buffer, firstRow, rows });
    firstRow += rows;
  }
  return { outWidth, width, layout: "linear", stride, storage, parts } satisfies Matrix;
}

function roundedTo(values: Float32Array, storage: StorageType): Float32Array {
  if (storage === "f32") return values;
  const codes = storage === "f16" ? f32ToF16(values) : f32ToBf16(values);
  return toFloat32(new Uint8Array(codes.buffer), storage === "f16" ? "F16" : "BF16");
}

describeOnGrids("embed", (gpu) => {
  const cases = (["f32", "f16", "bf16"] as const).flatMap((storage) => [
    {
      name: `${storage} by token, scaled`,
      storage,
      width: 7,
      parts: [11],
      by: "token" as const,
      scale: 1.7,
      offset: 0,
    },
    {
      name: `${storage} by position, odd width, three parts`,
      storage,
      width: 5,
      parts: [3, 3, 5],
      by: "position" as const,
      scale: 1,
      offset: 2,
    },
    {
      name: `${storage} of tokens in a list, with positions`,
      storage,
      width: 301,
      parts: [4, 7],
      by: "token" as const,
      scale: 0.5,
      offset: 0,
      listed: true,
      positionOffset: 2,
    },
  ]);
  it.each(cases)("$name", async ({ storage, width, parts, by, scale, offset, listed, positionOffset }) => {
    const random = seeded(width);
    const values = gaussians(random, 11 * width);
    const out = gaussians(random, ROWS.length * width);
    const table = tableOn(await gpu(), values, width, storage, parts);
    const learned = gaussians(random, 11 * width);
    const positionTable = tableOn(await gpu(), learned, width, "f32", [11]);
    const rows = listed ? ROWS.map(([position]): [number, number] => [position, 99]) : ROWS;
    const tokens = Uint32Array.from(ROWS, ([, token]) => token);
    const arrays = { out, rowTable: rowTableOf(rows), tokens };
    const result = await compute(await gpu(), arrays, ["out"], (recorder, tensors) =>
      embed(recorder, tensors.rowTable, ROWS.length, table, tensors.out, {
        by,
        scale,
        indexOffset: offset,
        ...(listed && { tokens: tensors.tokens }),
        ...(positionOffset !== undefined && { positions: { table: positionTable, offset: positionOffset } }),
      }),
    );
    for (const part of [...table.parts, ...positionTable.parts]) (await gpu()).destroyBuffer(part.buffer);
    const rounded = roundedTo(values, storage);
    const expected = ROWS.flatMap(([position, token]) =>
      Array.from({ length: width }, (_, d) => {
        const index = (by === "token" ? token : position) + offset;
        const learnedValue =
          positionOffset === undefined ? 0 : (learned[(position + positionOffset) * width + d] as number);
        return scale * (rounded[index * width + d] as number) + learnedValue;
      }),
    );
    expect(relativeError(result.out, expected)).toBeLessThan(1e-6);
  });
});

describeOnGrids("add", (gpu) => {
  it.each([
    { name: "x * scale added", count: 1000, scale: -0.3, accumulate: true },
    { name: "x * scale copied, with elements beyond", count: 999, scale: 2, accumulate: false },
    { name: "one element", count: 1, scale: 1, accumulate: true },
  ])("$name", async ({ count, scale, accumulate }) => {
    const random = seeded(count);
    const [x, out] = [gaussians(random, count + 5), gaussians(random, count + 5)];
    const result = await compute(await gpu(), { x, out }, ["out"], (recorder, tensors) =>
      combine(recorder, tensors.x, tensors.out, count, accumulate ? "add" : "replace", scale),
    );
    const expected = Array.from(out, (old, i) =>
      i >= count ? old : (x[i] as number) * scale + (accumulate ? old : 0),
    );
    expect(relativeError(result.out, expected)).toBeLessThan(1e-6);
  });
});

describeOnGrids("combine", (gpu) => {
  it.each(["replace", "add", "multiply"] as const)("%s, with elements beyond", async (how) => {
    const random = seeded(5);
    const [count, scale] = [777, 1.25];
    const [x, out] = [gaussians(random, count + 5), gaussians(random, count + 5)];
    const result = await compute(await gpu(), { x, out }, ["out"], (recorder, tensors) =>
      combine(recorder, tensors.x, tensors.out, count, how, scale),
    );
    const expected = Array.from(out, (old, i) => {
      const value = (x[i] as number) * scale;
      return i >= count ? old : { replace: value, add: old + value, multiply: old * value }[how];
    });
    expect(relativeError(result.out, expected)).toBeLessThan(1e-6);
  });
});

/** Where functions over- and underflow, and where tanh, exp and erf change their course. */
const EXTREMES = [0, 1e-30, 1e-4, 0.5, 1, 2.5, 3.9, 5, 9, 13, 40, 88, 90, 700, 1e4, 1e13, 1e20, 1e30, 3e38];

describeOnGrids("functions of each element", (gpu) => {
  const cases = [
    ...ACTIVATION_NAMES.map((activation) => ({ name: activation, activation })),
    { name: "a factor", scale: -0.7 },
    { name: "a soft cap", softCap: 3 },
    { name: "factor, activation and cap together", scale: 2.5, activation: "silu" as const, softCap: 1.5 },
  ];
  it.each(cases)("$name", async ({ name: _, ...how }: { name: string } & Parameters<typeof elementwise>[3]) => {
    const [rows, width, start] = [13, 37, 64];
    const x = gaussians(seeded(3), start + rows * width + 5, 4);
    const result = await compute(await gpu(), { x }, ["x"], (recorder, tensors) =>
      elementwise(recorder, packedView(tensors.x, width, 1, start), rows, how),
    );
    const { activation = "identity", scale = 1, softCap } = how;
    const expected = Array.from(x, (value, i) =>
      i < start || i >= start + rows * width ? value : softCapped(ACTIVATIONS[activation](value * scale), softCap),
    );
    expect(relativeError(result.x, expected)).toBeLessThan(2e-6);
  });

  it.each(ACTIVATION_NAMES)("%s of extreme numbers", async (activation) => {
    const pre = Float32Array.from([...EXTREMES, ...EXTREMES.map((x) => -x)]);
    const { out } = await compute(await gpu(), { out: pre.slice() }, ["out"], (recorder, tensors) =>
      elementwise(recorder, packedView(tensors.out, pre.length), 1, { activation }),
    );
    pre.forEach((x, i) => {
      const expected = ACTIVATIONS[activation](x);
      // What float32 cannot hold is infinite, as in PyTorch.
      if (!Number.isFinite(Math.fround(expected))) {
        expect(out[i]).toBe(Math.fround(expected));
        return;
      }
      // Each element by itself: one of 3e38 must not hide an error of 1 elsewhere.
      const difference = Math.abs((out[i] as number) - expected);
      expect(difference, `${activation}(${x}) = ${out[i]}, not ${expected}`).toBeLessThanOrEqual(
        1e-6 + 2e-6 * Math.abs(expected),
      );
    });
  });
});

describeOnGrids("sum over heads", (gpu) => {
  it.each([
    { name: "with bias and scale", rows: 7, nHeads: 5, width: 11, bias: true, scale: 0.5 },
    { name: "one head, no bias", rows: 1, nHeads: 1, width: 600, bias: false, scale: 1 },
  ])("$name", async ({ rows, nHeads, width, bias, scale }) => {
    const random = seeded(width);
    const result = gaussians(random, rows * nHeads * width);
    const b = gaussians(random, width);
    const arrays = { result, b, out: new Float32Array(rows * width) };
    const { out } = await compute(await gpu(), arrays, ["out"], (recorder, tensors) => {
      const buffers = { result: tensors.result, bias: tensors.b, out: tensors.out };
      const constants = { HAS_BIAS: bias ? 1 : 0 };
      const groups = Math.ceil((rows * width) / 64);
      dispatchGroups(recorder, SUM_HEADS, { rowCount: rows, nHeads, width, scale }, buffers, groups, { constants });
    });
    const expected = Array.from(out, (_, i) => {
      let sum = bias ? (b[i % width] as number) : 0;
      for (let head = 0; head < nHeads; head++) {
        sum += result[(Math.floor(i / width) * nHeads + head) * width + (i % width)] as number;
      }
      return sum * scale;
    });
    expect(relativeError(out, expected)).toBeLessThan(1e-6);
  });
});

describeOnGrids("gather", (gpu) => {
  it("copies strided heads and leaves the rest alone", async () => {
    const random = seeded(9);
    const [heads, width] = [3, 50];
    const [x, out] = [gaussians(random, 5000), gaussians(random, 5000)];
    const pairs = [
      [2, 0],
      [0, 4],
      [5, 1],
      [2, 3],
    ] as const;
    const source = { start: 7, rowStride: 400, headStride: 61 };
    const target = { start: 3, rowStride: 500, headStride: 77 };
    const arrays = { x, out, list: Uint32Array.from(pairs.flat()) };
    const result = await compute(await gpu(), arrays, ["out"], (recorder, tensors) =>
      gather(
        recorder,
        { buffer: tensors.x, heads, width, ...source },
        { buffer: tensors.out, heads, width, ...target },
        tensors.list,
      ),
    );
    const expected = out.slice();
    for (const [from, to] of pairs) {
      for (let head = 0; head < heads; head++) {
        const start = source.start + from * source.rowStride + head * source.headStride;
        const at = target.start + to * target.rowStride + head * target.headStride;
        expected.set(x.subarray(start, start + width), at);
      }
    }
    expect(result.out).toEqual(expected);
  });

  it("selects rows in the order asked for", async () => {
    const width = 33;
    const x = gaussians(seeded(4), 40 * width);
    const keep = [39, 0, 7, 7, 12];
    const out = new Float32Array(keep.length * width);
    const result = await compute(await gpu(), { x, out }, ["out"], (recorder, tensors) =>
      selectRows(recorder, packedView(tensors.x, width), keep, packedView(tensors.out, width)),
    );
    expect([...result.out]).toEqual(keep.flatMap((row) => [...x.subarray(row * width, (row + 1) * width)]));
  });
});

describe("a grid beyond 65535 workgroups", () => {
  it("adds 4.3 million elements", async () => {
    const count = 65536 * 64 + 100_001;
    const x = Float32Array.from({ length: count }, (_, i) => i % 8191);
    const out = new Float32Array(count).fill(1);
    const result = await compute(await testGpu(), { x, out }, ["out"], (recorder, tensors) =>
      combine(recorder, tensors.x, tensors.out, count, "add", 2),
    );
    expect(result.out.findIndex((value, i) => value !== 1 + 2 * (i % 8191))).toBe(-1);
  });
});
