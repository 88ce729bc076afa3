/** Logits on the GPU, and where in the batch each row of them belongs. */
import { InputError } from "../errors.ts";
import type { Tensor } from "../gpu/tensor.ts";
import * as s from "../schema/schema.ts";

/** The logits of one forward pass, on the GPU until they are read. The caller destroys them. */
export class Logits {
  constructor(
    /** [rows, vocabSize], sequence after sequence, without padding. */
    readonly tensor: Tensor,
    /** For each sequence the positions that have logits, ascending. */
    readonly positions: readonly (readonly number[])[],
    readonly vocabSize: number,
  ) {}

  /** [batch, positions, vocabSize]; positions is the largest number any sequence has. */
  get shape(): [number, number, number] {
    return [this.positions.length, Math.max(0, ...this.positions.map((list) => list.length)), this.vocabSize];
  }

  /** Row of `tensor` with the logits of a position; negative positions count from the sequence's last. */
  rowOf(sequence: number, position: number): number {
    s.readArgument(s.whole, sequence, "Logits.at", "sequence");
    const positions = this.positions[sequence];
    if (!positions)
      throw new InputError(
        "input/no-sequence",
        `There are ${this.positions.length} sequences; there is no number ${String(sequence)}.`,
      );
    s.readArgument(s.whole, position, "Logits.at", "position");
    const index = position < 0 ? positions.length + position : positions.indexOf(position);
    if (!Number.isInteger(index) || index < 0 || index >= positions.length) {
      throw new InputError(
        "input/no-logits",
        positions.length === 0
          ? `Sequence ${sequence} has no logits: stopAtLayer, or logits: "none", leaves them out. Ask for them in the pass.`
          : `Sequence ${sequence} has logits for positions ${positions.join(", ")}, not for ${String(position)}.`,
      );
    }
    return this.positions.slice(0, sequence).reduce((sum, list) => sum + list.length, 0) + index;
  }

  /** The logits [vocabSize] of one position; negative positions count from the last. */
  async at(sequence: number, position: number): Promise<Float32Array> {
    const row = this.rowOf(sequence, position);
    return this.tensor.read(row * this.vocabSize, (row + 1) * this.vocabSize);
  }

  /** All logits as [batch, positions, vocabSize]; rows that a shorter sequence does not have are zero. */
  async read(): Promise<Float32Array> {
    const packed = await this.tensor.read();
    const [batch, width, vocab] = this.shape;
    if (packed.length === batch * width * vocab) return packed;
    const padded = new Float32Array(batch * width * vocab);
    let row = 0;
    this.positions.forEach((list, sequence) => {
      padded.set(packed.subarray(row * vocab, (row + list.length) * vocab), sequence * width * vocab);
      row += list.length;
    });
    return padded;
  }

  /** Frees the GPU memory. Calling it twice is allowed. */
  destroy(): void {
    this.tensor.destroy();
  }

  /** The end of a `using` block. */
  [Symbol.dispose](): void {
    this.destroy();
  }
}
