/** Matmul kernels that are wrong in a known way, to see that they are not taken. */
import { expect } from "vitest";
import { MATMUL_FAMILY } from "../../src/kernels/matmul.ts";
import type { MatmulKernel } from "../../src/kernels/matmul-kernels.ts";

/** The kernel of that name for [out, in]. */
export const matmulNamed = (name: string) =>
  MATMUL_FAMILY.candidates.find((kernel) => kernel.name === name && kernel.layouts.includes("linear")) as MatmulKernel;

/** A kernel under another name, with a change to its WGSL that must find something to change. */
function altered(original: MatmulKernel, name: string, change: (code: string) => string): MatmulKernel {
  return {
    ...original,
    name,
    kernel(...shape) {
      const kernel = original.kernel(...shape);
      const code = change(kernel.code);
      expect(code).not.toBe(kernel.code);
      return { ...kernel, name: `${name} of ${kernel.name}`, code };
    },
  };
}

/** Next to nothing to do, and wrong. The right ones of many rows take a hundred times as long, on a busy machine too. */
export const HASTY = altered(matmulNamed("block 16x8x8"), "hasty", (code) =>
  code.replace("k < params.width", "k < 1u"),
);

/** What no driver takes. */
export const BROKEN = altered(matmulNamed("lanes 8x8"), "broken", (code) => code.replace("fn main", "fnmain"));
