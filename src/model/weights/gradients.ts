/**
 * Gradients of weights: memory for them on the GPU, in float32 whatever the weights' type, and their way back to the tensors of
 * the checkpoint. A weight's gradient lies as the weight does, so that one plan serves both.
 */
import { InputError } from "../../errors.ts";
import type { Gpu } from "../../gpu/gpu.ts";
import { readBuffer } from "../../gpu/readback.ts";
import { Tensor } from "../../gpu/tensor.ts";
import { STORAGE_USAGE } from "../../gpu/usage.ts";
import type { Matrix } from "../../kernels/matrix.ts";
import type { WeightRef } from "../../ops/op.ts";
import { nearestNames } from "../../schema/nearest.ts";
import { inFloat32, type Piece, type PlannedMatrix, type PlannedWeight } from "./plan.ts";
import type { Weights } from "./weights.ts";

/** The tensors of the checkpoint that a model computes with, in the order in which they are loaded. */
export function tensorNames({ planned }: Weights): string[] {
  return [...new Set(planned.flatMap(({ pieces }) => pieces.map(({ info }) => info.name)))];
}

/** A planned weight with buffers for its gradient. */
interface Held {
  readonly weight: PlannedWeight;
  readonly matrix: PlannedMatrix;
  readonly buffers: readonly GPUBuffer[];
}

const keyOf = (place: string, layer: number | undefined) => `${layer ?? ""}.${place}`;

/** Gradients of some tensors, zero until a pass adds to them. Works with `using`. */
export class WeightGradients {
  readonly #held = new Map<string, Held>();
  #destroyed = false;
  /** Tells one choice of tensors from another. */
  readonly weights: string;

  constructor(
    private readonly gpu: Gpu,
    private readonly model: Weights,
    /** The tensors, by their names in the checkpoint. */
    readonly names: readonly string[],
  ) {
    const chosen = new Set(names);
    for (const weight of model.planned) {
      if (!weight.pieces.some(({ info }) => chosen.has(info.name))) continue;
      const matrix = inFloat32(weight, gpu.limits);
      const label = `gradient of ${weight.pieces[0]?.info.name}`;
      const buffers = matrix.parts.map(({ bytes }) => gpu.createBuffer(bytes, STORAGE_USAGE, label));
      this.#held.set(keyOf(weight.place, weight.layer), { weight, matrix, buffers });
    }
    this.weights = [...this.#held.keys()].join();
  }

  /** Bytes on the GPU. */
  get byteLength(): number {
    return [...this.#held.values()].flatMap(({ buffers }) => buffers).reduce((sum, { size }) => sum + size, 0);
  }

  readonly wantsWeight = ({ name, block }: WeightRef, part?: "w" | "b"): boolean => {
    const places = part ? [`${name}.${part}`] : [name, `${name}.w`, `${name}.b`];
    return places.some((place) => this.#find(place, block) !== undefined);
  };

  /** The gradient of a matrix, to be added to. */
  matrix({ name, block }: WeightRef): Matrix {
    const { matrix, buffers } = this.#find(name, block) as Held;
    return { ...matrix, parts: matrix.parts.map((part, index) => ({ ...part, buffer: buffers[index] as GPUBuffer })) };
  }

  /** The gradient of a vector; `part`: of a norm's weight or bias. */
  vector({ name, block }: WeightRef, part?: "w" | "b"): Tensor {
    const { matrix, buffers } = this.#find(part ? `${name}.${part}` : name, block) as Held;
    return new Tensor(this.gpu, buffers[0] as GPUBuffer, [matrix.outWidth * matrix.width]);
  }

  /** A tied unembedding is the embedding. */
  #find(place: string, block: number | undefined): Held | undefined {
    const isTied = place === "W_U" && this.model.W_U === this.model.W_E;
    return this.#held.get(keyOf(isTied ? "W_E" : place, block));
  }

  /** The shape of a tensor, as the checkpoint stores it. @throws InputError `input/no-weight` */
  shape(name: string): readonly number[] {
    return (this.#piecesOf(name)[0] as { piece: Piece }).piece.info.shape;
  }

  /** The gradient of a tensor, in the order in which the checkpoint stores it. @throws InputError `input/no-weight` */
  async read(name: string): Promise<Float32Array> {
    const pieces = this.#piecesOf(name);
    const data = new Float32Array(this.shape(name).reduce((product, size) => product * size, 1));
    for (const { piece, held } of pieces) await this.#put(data, piece, held);
    return data;
  }

  /** Adds a piece's rows to those of its tensor that they were cut from. */
  async #put(data: Float32Array, { at, runs, rows, width, source }: Piece, { matrix, buffers }: Held): Promise<void> {
    const { layout, stride } = matrix;
    const isLinear = layout === "linear";
    const places = runs.flatMap(({ first, count }) => Array.from({ length: count }, (_, index) => first + index));
    for (const [index, { firstRow, rows: partRows }] of matrix.parts.entries()) {
      const buffer = buffers[index] as GPUBuffer;
      const values = new Float32Array(await readBuffer(this.gpu, buffer, 0, buffer.size));
      for (const [row, place] of places.entries()) {
        const own = at + row - firstRow;
        if (own < 0 || own >= partRows) continue;
        for (let k = 0; k < width; k++) {
          const to = source.transpose ? k * rows + place : place * width + k;
          data[to] = values[isLinear ? own * stride + k : k * stride + own] as number;
        }
      }
    }
  }

  #piecesOf(name: string): { piece: Piece; held: Held }[] {
    if (this.#destroyed)
      throw new InputError("input/gradients-destroyed", "These gradients were destroyed. Read them before.");
    const found = [...this.#held.values()].flatMap((held) =>
      held.weight.pieces.filter(({ info }) => info.name === name).map((piece) => ({ piece, held })),
    );
    if (found.length > 0 && this.names.includes(name)) return found;
    const near = nearestNames(name, this.names, 3).join(", ");
    throw new InputError("input/no-weight", `There is no gradient of "${name}" here. Nearest: ${near}.`);
  }

  /** Frees the GPU memory. Calling it twice is allowed. */
  destroy(): void {
    this.#destroyed = true;
    for (const buffer of [...this.#held.values()].flatMap(({ buffers }) => buffers)) this.gpu.destroyBuffer(buffer);
    this.#held.clear();
  }

  [Symbol.dispose](): void {
    this.destroy();
  }
}
