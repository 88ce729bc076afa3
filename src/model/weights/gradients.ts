/**
 * Gradients of weights: memory for them on the GPU, in float32 whatever the weights' type, and their way back to the tensors of
 * the checkpoint. A weight's gradient lies as the weight does, so that one plan serves both.
 */
import { InputError } from "../../errors.ts";
import type { Gpu } from "../../gpu/gpu.ts";
import type { BufferSlice } from "../../gpu/recorder.ts";
import type { Matrix } from "../../kernels/matrix.ts";
import type { WeightRef } from "../../ops/op.ts";
import { nearestNames } from "../../schema/nearest.ts";
import { FlatMemory } from "./flat-memory.ts";
import { inFloat32 } from "./plan.ts";
import { type InMemory, piecesOf, type Region, readTensor, regionsOf, weightsInMemory } from "./tensors.ts";
import type { Weights } from "./weights.ts";

/** A weight in memory, in float32, with its gradient, which lies in slices of the same lengths. */
export interface TrainedWeight {
  readonly weight: InMemory;
  readonly gradient: InMemory;
}

const keyOf = (place: string, layer: number | undefined) => `${layer ?? ""}.${place}`;

/** Gradients of some tensors, zero until a pass adds to them. Works with `using`. */
export class WeightGradients {
  readonly #byPlace: ReadonlyMap<string, InMemory>;
  #destroyed = false;
  /** Where they lie. */
  readonly memory: FlatMemory;
  /** Tells one choice of tensors from another. */
  readonly weights: string;

  constructor(
    private readonly gpu: Gpu,
    private readonly model: Weights,
    /** The tensors, by their names in the checkpoint. */
    readonly names: readonly string[],
  ) {
    const chosen = new Set(names);
    const tensors = model.planned
      .filter(({ pieces }) => pieces.some(({ info }) => chosen.has(info.name)))
      .map((planned) => ({ planned, matrix: inFloat32(planned, gpu.limits) }));
    this.memory = FlatMemory.for(gpu, tensors, "gradients of weights");
    this.#byPlace = new Map(this.memory.held.map((held) => [keyOf(held.planned.place, held.planned.layer), held]));
    this.weights = [...this.#byPlace.keys()].join();
  }

  /** Bytes on the GPU. */
  get byteLength(): number {
    return this.#destroyed ? 0 : this.memory.byteLength;
  }

  /** Whether the gradient of a weight is computed. */
  readonly wantsWeight = ({ name, block }: WeightRef, part?: "w" | "b"): boolean => {
    const places = part ? [`${name}.${part}`] : [name, `${name}.w`, `${name}.b`];
    return places.some((place) => this.#find(place, block) !== undefined);
  };

  /** The gradient of a matrix, to be added to. */
  matrix({ name, block }: WeightRef): Matrix {
    const { matrix, slices } = this.#find(name, block) as InMemory;
    return { ...matrix, parts: matrix.parts.map((part, index) => ({ ...part, ...(slices[index] as BufferSlice) })) };
  }

  /** The gradient of a vector; `part`: of a norm's weight or bias. */
  vector({ name, block }: WeightRef, part?: "w" | "b"): BufferSlice {
    return (this.#find(part ? `${name}.${part}` : name, block) as InMemory).slices[0] as BufferSlice;
  }

  /** A tied unembedding is the embedding. */
  #find(place: string, block: number | undefined): InMemory | undefined {
    const isTied = place === "W_U" && this.model.W_U === this.model.W_E;
    return this.#byPlace.get(keyOf(isTied ? "W_E" : place, block));
  }

  /** The weights on the GPU with their gradients. @throws InputError `train/storage` for weights that are not float32. */
  trained(): TrainedWeight[] {
    return weightsInMemory(this.model).flatMap((weight) => {
      const { planned, matrix } = weight;
      const gradient = this.#byPlace.get(keyOf(planned.place, planned.layer));
      if (!gradient) return [];
      const storages = [...new Set(matrix.parts.map(({ storage = matrix.storage }) => storage))];
      if (storages.every((storage) => storage === "f32")) return [{ weight, gradient }];
      throw new InputError(
        "train/storage",
        `${planned.pieces[0]?.info.name} is stored as ${storages.join(" and ")}, and weights are trained in float32. Load the model with loadModel(source, { dtype: "float32" }).`,
      );
    });
  }

  /** The shape of a tensor, as the checkpoint stores it. @throws InputError `input/no-weight` */
  shape(name: string): readonly number[] {
    return this.#piecesOf(name)[0]?.piece.info.shape ?? [];
  }

  /** Where the numbers of a tensor's gradient lie. @throws InputError `input/no-weight` */
  regions(name: string): Region[] {
    return this.#piecesOf(name).flatMap(({ piece, held }) => regionsOf(piece, held));
  }

  /** The gradient of a tensor, in the order in which the checkpoint stores it. @throws InputError `input/no-weight` */
  async read(name: string): Promise<Float32Array> {
    return readTensor(this.gpu, this.#piecesOf(name));
  }

  #piecesOf(name: string) {
    if (this.#destroyed)
      throw new InputError("input/gradients-destroyed", "These gradients were destroyed. Read them before.");
    if (this.names.includes(name)) return piecesOf(this.memory.held, name);
    const near = nearestNames(name, this.names, 3).join(", ");
    throw new InputError("input/no-weight", `There is no gradient of "${name}" here. Nearest: ${near}.`);
  }

  /** Frees the GPU memory. Calling it twice is allowed. */
  destroy(): void {
    this.#destroyed = true;
    this.memory.destroy();
  }

  /** The end of a `using` block. */
  [Symbol.dispose](): void {
    this.destroy();
  }
}
