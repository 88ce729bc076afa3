/** Weights of eight bits that are floats: what a kernel makes of each code, on any host. */
import { toFloat32 } from "../../src/checkpoint/index.ts";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { matmul } from "../../src/kernels/calls.ts";
import { MATMUL_FAMILY } from "../../src/kernels/matmul.ts";
import type { MatrixPart } from "../../src/kernels/matrix.ts";
import { compute } from "./compute.ts";
import { upload } from "./matmul.cases.ts";

/** Three times each float, by its code, and what it should be. The codes for NaN are zero. */
export async function everyFp8(gpu: Gpu): Promise<{ actual: number[]; expected: number[] }> {
  const codes = Uint8Array.from({ length: 256 }, (_, code) => ((code & 0x7f) === 0x7f ? 0 : code));
  const scale = 3;
  const bytes = new Uint8Array(2 * 132);
  for (const row of [0, 1]) {
    bytes.set(codes.subarray(128 * row, 128 * (row + 1)), 132 * row);
    new DataView(bytes.buffer).setFloat32(132 * row + 128, scale, true);
  }
  const weights = upload(gpu, bytes, { outWidth: 2, width: 128, layout: "linear", stride: 128, storage: "fp8" }, [2]);
  const x = Float32Array.from({ length: 128 * 128 }, (_, i) => (i % 129 === 0 ? 1 : 0)); // the identity
  const { out } = await compute(gpu, { x, out: new Float32Array(2 * 128) }, ["out"], (recorder, tensors) => {
    matmul(recorder, tensors.x, 128, weights, tensors.out, { kernel: MATMUL_FAMILY.reference });
  });
  gpu.destroyBuffer((weights.parts[0] as MatrixPart).buffer);
  const actual = [0, 1].flatMap((row) => [...out.filter((_, i) => i % 2 === row)]);
  return { actual, expected: [...toFloat32(codes, "F8_E4M3").map((value) => scale * value + 0)] };
}
