/** A search for ceilings that takes a second. What is asked there is which kernel counts, not how fast it is. */
import { type CeilingSizes, RATE_TIMING } from "../../src/bench/ceilings.ts";
import { matmulNamed } from "../kernels/altered.ts";

/** One for many rows and one for few; most of the time of all candidates is compiling. */
export const FEW = ["block 16x8x8", "lanes 8x8"].map(matmulNamed);

export const SHORT = { ...RATE_TIMING, runMs: 10, runs: 3 };

export const SMALL: CeilingSizes = {
  manyRows: [{ rows: 32, width: 64, outWidth: 128 }],
  oneRow: [{ rows: 1, width: 64, outWidth: 128 }],
};
