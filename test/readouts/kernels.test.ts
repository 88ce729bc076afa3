/** The readouts' kernels against plain references, at sizes that do not divide evenly. */
import { describe, expect, it } from "vitest";
import { f32ToBf16, f32ToF16, toFloat32 } from "../../src/checkpoint/index.ts";
import { Recorder } from "../../src/gpu/recorder.ts";
import { STORAGE_USAGE } from "../../src/gpu/usage.ts";
import { attentionSums, matmulTransposed, NO_QUERY, topK } from "../../src/hooks/readouts/kernels.ts";
import type { Matrix } from "../../src/kernels/matrix.ts";
import { testGpu } from "../support/gpu.ts";
import { gaussians, integer, relativeError, seeded } from "../support/numbers.ts";

describe("the transposed matmul", () => {
  const CASES = (["f32", "f16", "bf16"] as const).flatMap((storage) =>
    (
      [
        [1, 7, 5, [7]],
        [3, 70, 64, [33, 37]],
        [2, 129, 131, [64, 1, 64]],
      ] as const
    ).map(([rows, out, width, parts]) => ({ storage, rows, out, width, parts })),
  );

  it.each(CASES)(
    "$storage: [$rows, $out] times [$out, $width] in parts $parts",
    async ({ storage, rows, out, width, parts }) => {
      const gpu = await testGpu();
      const random = seeded(out * width);
      const x = gaussians(random, rows * out);
      const exact = gaussians(random, out * width);
      const narrow = { f32: () => exact, f16: () => f32ToF16(exact), bf16: () => f32ToBf16(exact) }[storage]();
      const bytes = new Uint8Array(narrow.buffer, narrow.byteOffset, narrow.byteLength);
      const W = toFloat32(bytes, ({ f32: "F32", f16: "F16", bf16: "BF16" } as const)[storage]);
      const stride = Math.ceil(width / 4) * 4;
      const size = bytes.length / W.length;
      let firstRow = 0;
      const buffers = parts.map((count) => {
        const padded = new Uint8Array(count * stride * size);
        for (let row = 0; row < count; row++) {
          padded.set(
            bytes.subarray((firstRow + row) * width * size, (firstRow + row + 1) * width * size),
            row * stride * size,
          );
        }
        const buffer = gpu.createBuffer(padded.length, STORAGE_USAGE, "weights");
        gpu.device.queue.writeBuffer(buffer, 0, padded);
        firstRow += count;
        return { buffer, firstRow: firstRow - count, rows: count };
      });
      const matrix: Matrix = { outWidth: out, width, layout: "linear", stride, storage, parts: buffers };
      const read = await Recorder.run(gpu, "transposed", (recorder) =>
        recorder.readback(matmulTransposed(recorder, recorder.upload(x), rows, matrix)),
      );
      const expected = Array.from({ length: rows * width }, (_, index) => {
        const [row, k] = [Math.floor(index / width), index % width];
        return W.reduce(
          (sum, value, at) =>
            at % width === k ? sum + value * (x[row * out + Math.floor(at / width)] as number) : sum,
          0,
        );
      });
      expect(relativeError(new Float32Array(read.bytes), expected)).toBeLessThan(2e-6);
      for (const { buffer } of buffers) gpu.destroyBuffer(buffer);
    },
  );
});

describe("top k", () => {
  it.each([
    [1, 3, 3],
    [5, 300, 9],
    [4, 1000, 256],
    [300, 20, 4],
  ])("%i rows of %i: the %i largest, ties by index", async (rows, width, count) => {
    const gpu = await testGpu();
    const random = seeded(width);
    const x = Float32Array.from({ length: rows * width }, () => integer(random, -40, 40) / 4);
    x[0] = Number.NEGATIVE_INFINITY;
    const read = await Recorder.run(gpu, "top k", (recorder) =>
      recorder.readback(topK(recorder, recorder.upload(x), rows, width, count)),
    );
    const [tokens, values] = [new Uint32Array(read.bytes), new Float32Array(read.bytes)];
    for (let row = 0; row < rows; row++) {
      const order = Array.from({ length: width }, (_, index) => index).sort(
        (a, b) => (x[row * width + b] as number) - (x[row * width + a] as number) || a - b,
      );
      for (let rank = 0; rank < count; rank++) {
        expect(tokens[2 * (row * count + rank)]).toBe(order[rank]);
        expect(values[2 * (row * count + rank) + 1]).toBe(x[row * width + (order[rank] as number)]);
      }
    }
  });
});

describe("attention sums", () => {
  it("sum long rows, and leave padding at zero", async () => {
    const gpu = await testGpu();
    const [heads, keys] = [3, 150];
    const random = seeded(1);
    const positions = [[149, 64, 0], [70]];
    const pattern = gpu.tensorFrom(
      Float32Array.from({ length: 2 * heads * 3 * keys }, random),
      [2, heads, 3, keys],
      "pattern",
    );
    const ids = [0, 1].map(() => Array.from({ length: keys }, () => integer(random, 0, 9)));
    const read = await Recorder.run(gpu, "sums", (recorder) => {
      const queryPositions = recorder.upload(Uint32Array.from([149, 64, 0, 70, NO_QUERY, NO_QUERY]));
      return recorder.readback(
        attentionSums(recorder, {
          ...{ pattern, queryPositions, causal: true },
          tokens: recorder.upload(Uint32Array.from(ids.flat())),
        }),
      );
    });
    const sums = new Float32Array(read.bytes);
    const values = await pattern.read();
    for (let row = 0; row < 2; row++) {
      for (let index = 0; index < heads * 3; index++) {
        const query = positions[row]?.[index % 3];
        const at = (row * heads * 3 + index) * 7;
        const expected = [0, 0, 0, 0, 0, 0, 0];
        const add = (which: number, value: number) => {
          expected[which] = (expected[which] as number) + value;
        };
        const list = ids[row] as number[];
        for (let key = 0; query !== undefined && key <= query; key++) {
          const a = values[(row * heads * 3 + index) * keys + key] as number;
          add(0, a);
          add(1, -a * Math.log(a));
          add(2, a * (query - key));
          if (key === 0) add(3, a);
          if (key === query - 1) add(4, a);
          if (key < query && list[key] === list[query]) add(5, a);
          if (key > 0 && list[key - 1] === list[query]) add(6, a);
        }
        expect(relativeError(sums.subarray(at, at + 7), expected)).toBeLessThan(2e-6);
      }
    }
    pattern.destroy();
  });
});
