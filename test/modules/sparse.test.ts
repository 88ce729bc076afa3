/** Decoding what is active gives what the matmul gives, whatever is active, split or packed; and costs a part of encoding. */
import { describe, expect, it } from "vitest";
import { Recorder } from "../../src/gpu/recorder.ts";
import { STORAGE_USAGE } from "../../src/gpu/usage.ts";
import { compactActive, countActive, decodeActive, keepLargest } from "../../src/kernels/dictionary.ts";
import type { Matrix } from "../../src/kernels/matrix.ts";
import { packedView } from "../../src/kernels/view.ts";
import { testGpu } from "../support/gpu.ts";
import { gaussians, relativeError, seeded } from "../support/numbers.ts";

/** W [rows, width] in f32, in parts of so many rows. */
async function matrixOf(values: Float32Array, rows: number, width: number, perPart = rows): Promise<Matrix> {
  const gpu = await testGpu();
  const stride = 4 * Math.ceil(width / 4);
  const parts = Array.from({ length: Math.ceil(rows / perPart) }, (_, part) => {
    const firstRow = part * perPart;
    const here = Math.min(perPart, rows - firstRow);
    const padded = new Float32Array(here * stride);
    for (let row = 0; row < here; row++)
      padded.set(values.subarray((firstRow + row) * width, (firstRow + row + 1) * width), row * stride);
    const buffer = gpu.createBuffer(padded.byteLength, STORAGE_USAGE, "test weights");
    gpu.device.queue.writeBuffer(buffer, 0, padded);
    return { buffer, firstRow, rows: here };
  });
  return { outWidth: rows, width, layout: "linear", stride, storage: "f32", parts };
}

/** Rows of which a share is not 0. */
function sparse(rows: number, width: number, share: number): Float32Array {
  const random = seeded(7);
  return gaussians(random, rows * width).map((value) => (random() < share ? Math.abs(value) : 0));
}

describe("active features", () => {
  it.each([
    [3, 131, 32, 0.1, 131],
    [2, 5000, 300, 0.01, 1700],
    [5, 64, 7, 1, 20],
    [1, 4097, 33, 0, 4097],
    [2, 4096, 1100, 0.02, 2048],
  ])(
    "of %i rows of %i, decoded to %i, a share of %f, in parts of %i",
    async (rows, features, width, share, perPart) => {
      const gpu = await testGpu();
      const x = sparse(rows, features, share);
      const W = gaussians(seeded(8), features * width);
      const matrix = await matrixOf(W, features, width, perPart);
      using input = gpu.tensorFrom(x, [rows, features], "features");
      using out = gpu.tensor([rows, width], "decoded");
      await Recorder.run(gpu, "decode", (recorder) =>
        decodeActive(recorder, packedView(input, features), rows, matrix, packedView(out, width)),
      );
      const expected = Float64Array.from({ length: rows * width }, (_, i) => {
        const [row, d] = [Math.floor(i / width), i % width];
        let sum = 0;
        for (let f = 0; f < features; f++) sum += x[row * features + f]! * W[f * width + d]!;
        return sum;
      });
      const decoded = await out.read();
      if (share > 0) expect(relativeError(decoded, expected)).toBeLessThan(1e-6);
      else expect(decoded.every((value) => value === 0)).toBe(true);
      for (const { buffer } of matrix.parts) gpu.destroyBuffer(buffer as GPUBuffer);
    },
  );

  it("are the k largest above 0, of equal ones the first", async () => {
    const gpu = await testGpu();
    const rows = [
      [0.5, 0.5, 0.5, 0.5, 2, -1, 0.5, 0],
      [-1, -2, 3, -4, 0, 0, 0, 1e-30],
      [1, 2, 3, 4, 5, 6, 7, 8],
    ];
    using x = gpu.tensorFrom(Float32Array.from(rows.flat()), [3, 8], "x");
    await Recorder.run(gpu, "keep", (recorder) => keepLargest(recorder, packedView(x, 8), 3, 3));
    expect([...(await x.read())]).toEqual(
      [
        [0.5, 0.5, 0, 0, 2, 0, 0, 0],
        [0, 0, 3, 0, 0, 0, 0, 1e-30],
        [0, 0, 0, 0, 0, 6, 7, 8],
      ]
        .flat()
        .map(Math.fround),
    );
  });

  it("are listed in order, each once", async () => {
    const gpu = await testGpu();
    const [rows, width] = [4, 1003];
    const x = sparse(rows, width, 0.05);
    const expected = [...x.keys()].filter((i) => x[i]! > 0);
    using input = gpu.tensorFrom(x, [rows, width], "features");
    using counts = gpu.tensor([rows], "counts", "u32");
    await Recorder.run(gpu, "count", (recorder) => countActive(recorder, input, rows, width, counts));
    const each = await counts.readU32();
    expect([...each].reduce((sum, count) => sum + count)).toBe(expected.length);
    const starts = Uint32Array.from(each, (_, row) => each.subarray(0, row).reduce((sum, count) => sum + count, 0));
    using placed = gpu.tensorFrom(starts, [rows], "starts");
    using pairs = gpu.tensor([expected.length, 2], "pairs", "u32");
    await Recorder.run(gpu, "compact", (recorder) => compactActive(recorder, input, rows, width, placed, pairs));
    const found = await pairs.readU32();
    expect([...found].filter((_, i) => i % 2 === 0)).toEqual(expected.map((i) => i % width));
    expect([...new Float32Array(found.buffer)].filter((_, i) => i % 2 === 1)).toEqual(expected.map((i) => x[i]));
  });
});
