/** A dictionary of features on the GPU: a sparse autoencoder, a transcoder, or a set of them for several blocks. */
import { HookError } from "../../errors.ts";
import type { Gpu } from "../../gpu/gpu.ts";
import type { ModuleSpec } from "../../model/modules.ts";
import type { ModuleWeights } from "../../model/weights/weights.ts";

/** One block's part of a dictionary. */
export type DictionaryModule = Omit<ModuleSpec, "group" | "error">;

const weightsByDictionary = new WeakMap<Dictionary, readonly ModuleWeights[]>();

/** The weights of a dictionary's modules, for passes. */
export function weightsOf(dictionary: Dictionary): readonly ModuleWeights[] {
  return weightsByDictionary.get(dictionary) as readonly ModuleWeights[];
}

/** A loaded dictionary. Works with `using`; views that have it spliced in end with it. */
export class Dictionary {
  #destroyed = false;

  constructor(
    readonly gpu: Gpu,
    /** Where it came from, for messages. */
    readonly label: string,
    /** The format of its files. */
    readonly format: string,
    /** Its file of settings, where there is one. */
    readonly config: Readonly<Record<string, unknown>>,
    /** One for each block that it reads. */
    readonly modules: readonly DictionaryModule[],
    weights: readonly unknown[],
    private readonly buffers: readonly GPUBuffer[],
  ) {
    weightsByDictionary.set(this, weights as readonly ModuleWeights[]);
  }

  /** The point that it reads; of the first block where it reads several. */
  get hook(): string {
    return (this.modules[0] as DictionaryModule).hookIn;
  }

  /** How many features it has, in each block. */
  get dSae(): number {
    return (this.modules[0] as DictionaryModule).dSae;
  }

  /** Whether `destroy()` was called. */
  get destroyed(): boolean {
    return this.#destroyed;
  }

  /** @throws HookError `module/destroyed` */
  assertAlive(): void {
    if (this.#destroyed)
      throw new HookError("module/destroyed", `The dictionary ${this.label} was destroyed. Load it again.`);
  }

  /** Frees its memory. */
  destroy(): void {
    if (this.#destroyed) return;
    this.#destroyed = true;
    for (const buffer of this.buffers) this.gpu.destroyBuffer(buffer);
  }

  /** The end of a `using` block. */
  [Symbol.dispose](): void {
    this.destroy();
  }
}
