/**
 * Weights as kernels read them.
 *
 * A matrix [outWidth, width] keeps the checkpoint's type and layout. Its rows are padded to a multiple of four elements, or to
 * whole blocks where they are quantised, and it is cut into parts where it exceeds what the adapter can bind at once (128 MB on many; GPT-2's embedding has 154).
 * Vectors (biases, norms) are f32: bf16 and f16 widen to f32 without loss, and vectors are too small to matter.
 */
import type { BufferSlice } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import type { StorageType } from "./storage.ts";

/** How a matrix lies in memory: [out, in], as torch.nn.Linear has it, or [in, out], as GPT-2's Conv1D has it. */
export type WeightLayout = "linear" | "conv1d";

export interface MatrixPart extends BufferSlice {
  /** First column of the result whose weights are held here, and how many. */
  readonly firstRow: number;
  readonly rows: number;
  /** Where it is not the matrix's: of weights that lie stacked, each may be quantised its own way. */
  readonly storage?: StorageType;
}

export interface Matrix {
  readonly outWidth: number;
  readonly width: number;
  /**
   * `linear`: [outWidth, width] in memory, cut into parts where it exceeds a binding. `conv1d`: [width, outWidth], as
   * GPT-2 stores its blocks, in one part.
   */
  readonly layout: WeightLayout;
  /** Elements from one row in memory to the next: its length rounded up to a multiple of four, or to whole blocks. */
  readonly stride: number;
  readonly storage: StorageType;
  readonly parts: readonly MatrixPart[];
}

/** Weight and bias of a norm, or of q/k norm. Absent ones are the identity. */
export interface NormWeights {
  w?: Tensor;
  b?: Tensor;
}
