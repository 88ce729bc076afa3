/** Experts' matmuls for many rows, sorted by experts, give what each pair gives by itself, in every storage and however matrices are cut. */
import { describe, expect, it } from "vitest";
import { Recorder } from "../../src/gpu/recorder.ts";
import { STORAGE_USAGE } from "../../src/gpu/usage.ts";
import { expertsMatmul } from "../../src/kernels/experts.ts";
import type { Matrix } from "../../src/kernels/matrix.ts";
import type { FloatStorage as StorageType } from "../../src/kernels/storage.ts";
import { ELEMENT_BYTES } from "../../src/kernels/storage.ts";
import { packedView } from "../../src/kernels/view.ts";
import { testGpu } from "../support/gpu.ts";
import { gaussians, integer, relativeError, seeded } from "../support/numbers.ts";

interface Case {
  readonly rows: number;
  readonly slots: number;
  readonly experts: number;
  readonly outWidth: number;
  readonly width: number;
  readonly storage: StorageType;
  readonly parts: number;
  /** Whether each slot reads a vector of its own. */
  readonly own?: boolean;
  /** Only these experts are chosen. */
  readonly among?: number;
}

const CASES: readonly Case[] = [
  { rows: 70, slots: 2, experts: 4, outWidth: 24, width: 32, storage: "f32", parts: 1 },
  { rows: 33, slots: 3, experts: 5, outWidth: 10, width: 17, storage: "f32", parts: 3, own: true },
  { rows: 41, slots: 2, experts: 8, outWidth: 36, width: 20, storage: "bf16", parts: 1 },
  { rows: 40, slots: 4, experts: 7, outWidth: 33, width: 24, storage: "f16", parts: 2, own: true },
  { rows: 64, slots: 1, experts: 16, outWidth: 12, width: 8, storage: "f32", parts: 1, among: 1 },
  { rows: 300, slots: 2, experts: 100, outWidth: 8, width: 8, storage: "f32", parts: 1 },
];

async function both(each: Case): Promise<[Float32Array, Float32Array]> {
  const { rows, slots, experts, outWidth, width, storage, parts, own, among = experts } = each;
  const gpu = await testGpu();
  const random = seeded(rows + outWidth);
  const stride = Math.ceil(width / 4) * 4;
  const stacked = experts * outWidth;
  const bytes = stacked * stride * ELEMENT_BYTES[storage];
  const numbers = gaussians(random, stacked * stride);
  // The upper half of a float32 is a bf16; as an f16 any halves will do that are no NaN.
  const words = new Uint32Array(Float32Array.from(numbers).buffer);
  const data =
    storage === "f32"
      ? Float32Array.from(numbers)
      : Uint16Array.from(words, (word) => (word >>> 16) & (storage === "f16" ? 0xbbff : 0xffff));
  const rowBytes = stride * ELEMENT_BYTES[storage];
  const perPart = Math.ceil(stacked / parts);
  const buffers: GPUBuffer[] = [];
  const made = Array.from({ length: parts }, (_, part) => {
    const firstRow = part * perPart;
    const count = Math.min(perPart, stacked - firstRow);
    const buffer = gpu.createBuffer(count * rowBytes, STORAGE_USAGE, "experts");
    buffers.push(buffer);
    const all = new Uint8Array(data.buffer, 0, bytes);
    gpu.device.queue.writeBuffer(buffer, 0, all.slice(firstRow * rowBytes, (firstRow + count) * rowBytes));
    return { buffer, firstRow, rows: count };
  });
  const W: Matrix = { outWidth: stacked, width, layout: "linear", stride, storage, parts: made };
  const x = Float32Array.from(gaussians(random, rows * (own ? slots : 1) * width));
  const chosen = Float32Array.from({ length: rows * slots }, () => integer(random, 0, among - 1));
  const bias = Float32Array.from(gaussians(random, stacked));
  const run = async (kernels?: "reference") => {
    const recorder = new Recorder(gpu, "experts", { kernels });
    const out = recorder.temp(rows, slots, outWidth);
    expertsMatmul(
      recorder,
      packedView(recorder.upload(x), width, own ? slots : 1),
      rows,
      { indices: packedView(recorder.upload(chosen), slots), experts },
      W,
      recorder.upload(bias),
      packedView(out, outWidth, slots),
    );
    const readback = recorder.readback(out);
    await recorder.submit();
    return new Float32Array(readback.bytes).slice(0, rows * slots * outWidth);
  };
  const results: [Float32Array, Float32Array] = [await run(), await run("reference")];
  for (const buffer of buffers) gpu.destroyBuffer(buffer);
  return results;
}

describe("experts' matmuls", () => {
  it.each(CASES)(
    "sorted or not, $rows rows, $slots of $experts experts, $outWidth x $width $storage in $parts parts",
    async (each) => {
      const [sorted, alone] = await both(each);
      expect(alone.some((value) => value !== 0)).toBe(true);
      expect(relativeError(sorted, alone)).toBeLessThan(1e-5);
    },
  );
});
