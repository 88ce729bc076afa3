/** A tensor that is made of several of a file: what it is read as, and its rows. */
import { CheckpointError } from "../../errors.ts";
import type { ReadTensor, TensorInfo } from "../tensor-info.ts";

export interface Derived {
  /** What it is read as; place and file are those of its codes. */
  readonly info: TensorInfo;
  /** Rows of all its matrices together. */
  readonly rows: number;
  /** Rows `first` to `last`, as bytes of `info.dtype`. */
  readRows(read: ReadTensor, first: number, last: number): Promise<Uint8Array>;
}

/** The tensors that one weight is kept in. */
export interface Parts {
  /** The weight's name. */
  readonly name: string;
  readonly codes: TensorInfo;
  readonly scales: TensorInfo;
  readonly zeros?: TensorInfo | undefined;
}

export const product = (sizes: readonly number[]): number => sizes.reduce((all, size) => all * size, 1);

/** The error for parts that do not fit together. */
export function broken({ codes }: Parts, detail: string): CheckpointError {
  return new CheckpointError(
    "checkpoint/quantized",
    `${codes.file}: tensor ${codes.name} is quantised, and ${detail}. ` +
      "Config and weights must belong together: take both from one download, or the model that was quantised.",
  );
}
