/** The operands on which kernels are timed, and the check that a result is right. */
import { GpuError } from "../../errors.ts";
import type { Gpu } from "../../gpu/gpu.ts";
import { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { type FloatStorage, isBlockStorage, type StorageType } from "../storage.ts";

/** Operands for the kernels of a family, for one class of shapes. */
export interface Workload<Kernel> {
  /** Floating-point operations of a kernel, and bytes of weights, or of keys and values, that it must read. */
  readonly operations: number;
  readonly bytes: number;
  /** Records the kernel once; `repetition`: how often it was recorded before in this submission. */
  record(recorder: Recorder, kernel: Kernel, repetition: number): void;
  /** The kernel's largest difference from the reference, relative to the reference's largest value. */
  error(kernel: Kernel): Promise<number>;
}

/** Largest difference from the reference, relative to its largest value; right ones differ by 1e-7 to 2e-6. */
export const TOLERANCE = 1e-5;

/** Whether an error says that the driver does not take a kernel, and no more than that. */
export function isRefused(error: unknown): error is GpuError {
  return error instanceof GpuError && /shader|validation/.test(error.code);
}

/** What `record` computes into a tensor of that shape; it starts from zeros, so that what is left out shows. */
export async function resultOf(
  gpu: Gpu,
  what: string,
  shape: readonly number[],
  record: (recorder: Recorder, out: Tensor) => void,
  signal?: AbortSignal | undefined,
): Promise<Float32Array> {
  using out = gpu.tensor(shape, "result to check");
  const recordAll = (recorder: Recorder) => {
    record(recorder, out);
    return recorder.readback(out);
  };
  const result = await Recorder.run(gpu, `check of ${what}`, recordAll, { signal });
  return new Float32Array(result.bytes);
}

/** The largest relative error of a kernel on several tasks; `compute` gives a kernel's result of one. */
export async function largestError<Kernel, Task>(
  kernel: Kernel,
  reference: Kernel,
  tasks: readonly Task[],
  compute: (kernel: Kernel, task: Task) => Promise<Float32Array>,
): Promise<number> {
  let largest = 0;
  for (const task of tasks) {
    const actual = await compute(kernel, task);
    const expected = await compute(reference, task);
    largest = Math.max(largest, relativeError(actual, expected));
  }
  return largest;
}

/** The largest difference, relative to the largest value expected; infinite when something is not a number. */
function relativeError(actual: Float32Array, expected: Float32Array): number {
  const largest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const difference = expected.reduce((most, value, i) => Math.max(most, Math.abs(value - (actual[i] as number))), 0);
  return Number.isFinite(difference) ? difference / largest : Number.POSITIVE_INFINITY;
}

/**
 * Bits that make any word a number, or two, of magnitude 0.5 to 1: random sign and fraction, the exponent of 0.5. Sums
 * of their products stay in range, and no value is small enough for an error to hide in it.
 */
const EXPONENT: Record<FloatStorage, { keep: number; exponent: number }> = {
  f32: { keep: 0x807fffff, exponent: 0x3f000000 },
  f16: { keep: 0x83ff83ff, exponent: 0x38003800 },
  bf16: { keep: 0x807f807f, exponent: 0x3f003f00 },
};

/** Whatever half of a word is a scale is then one of 0.5 to 2, a whole word one of 2^-15 to 2, and no byte is an exponent out of range. */
const IN_BLOCKS = { keep: 0x87878787, exponent: 0x38383838 };

/** `count` words of random numbers, by xorshift32. */
export function randomWords(count: number, storage: StorageType, seed: number): Uint32Array {
  const { keep, exponent } = isBlockStorage(storage) ? IN_BLOCKS : EXPONENT[storage];
  const words = new Uint32Array(count);
  for (let state = seed, i = 0; i < count; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[i] = (state & keep) | exponent;
  }
  return words;
}
