/** Gradients of a dictionary's weights: memory for them on the GPU, as the optimizer and a backward pass take it. */
import type { Gpu } from "../gpu/gpu.ts";
import type { BufferSlice } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import type { Matrix } from "../kernels/matrix.ts";
import { FlatMemory } from "../model/weights/flat-memory.ts";
import type { TrainedWeight } from "../model/weights/gradients.ts";
import type { InMemory } from "../model/weights/tensors.ts";

/** A weight as an op names it. */
interface Ref {
  readonly name: string;
  readonly module?: number | undefined;
}

/** The weights of a dictionary that are trained: W_enc, W_dec, b_enc and the decoder's bias. */
export interface TrainedDictionary {
  readonly W_enc: Matrix;
  readonly W_dec: Matrix;
  readonly b_enc: Tensor;
  readonly outputShift: { readonly b: Tensor };
}

export class DictionaryGradients {
  readonly memory: FlatMemory;
  /** Tells these from other choices of weights. */
  readonly weights = "dictionary";
  readonly #held: ReadonlyMap<string, InMemory>;
  readonly #slices: Readonly<Record<string, readonly BufferSlice[]>>;

  constructor(gpu: Gpu, weights: TrainedDictionary) {
    const { W_enc, W_dec, b_enc, outputShift } = weights;
    const planned = [
      matrixOf("W_enc", W_enc),
      matrixOf("W_dec", W_dec),
      vectorOf("b_enc", b_enc),
      vectorOf("outputShift", outputShift.b),
    ];
    this.memory = FlatMemory.for(gpu, planned, "gradients of a dictionary");
    this.#held = new Map(this.memory.held.map((held) => [held.planned.place, held]));
    this.#slices = { W_enc: W_enc.parts, W_dec: W_dec.parts, b_enc: [b_enc], outputShift: [outputShift.b] };
  }

  readonly wantsWeight = ({ name, module }: Ref, part?: "w" | "b"): boolean =>
    module === 0 && this.#held.has(name) && part !== "w";

  matrix({ name }: Ref): Matrix {
    const { matrix, slices } = this.of(name);
    return { ...matrix, parts: matrix.parts.map((part, index) => ({ ...part, ...(slices[index] as BufferSlice) })) };
  }

  vector({ name }: Ref): BufferSlice {
    return this.of(name).slices[0] as BufferSlice;
  }

  of(name: string): InMemory {
    return this.#held.get(name) as InMemory;
  }

  trained(): TrainedWeight[] {
    return this.memory.held.map((gradient) => ({
      gradient,
      weight: { ...gradient, slices: this.#slices[gradient.planned.place] as readonly BufferSlice[] },
    }));
  }

  destroy(): void {
    this.memory.destroy();
  }
}

function matrixOf(place: string, { parts, ...matrix }: Matrix) {
  const bytes = 4 * matrix.stride;
  const own = { ...matrix, parts: parts.map(({ firstRow, rows }) => ({ firstRow, rows, bytes: rows * bytes })) };
  return { planned: { place, isVector: false, layer: undefined, pieces: [], matrix: own }, matrix: own };
}

function vectorOf(place: string, { length }: Tensor) {
  const part = { firstRow: 0, rows: length, bytes: 4 * length };
  const own = { outWidth: length, width: 1, layout: "linear", stride: 1, storage: "f32", parts: [part] } as const;
  return { planned: { place, isVector: true, layer: undefined, pieces: [], matrix: own }, matrix: own };
}
