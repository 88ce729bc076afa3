/**
 * What every format of dictionaries comes down to: modules as a pass needs them, and where each of their tensors lies. The
 * files of the formats (`sae-lens.ts`, `gemma-scope.ts`, …) give this; `weights.ts` brings it to the GPU.
 */
import { type Dtype, isDtype, isFloat } from "../../checkpoint/index.ts";
import { CheckpointError, ConfigError } from "../../errors.ts";
import type { ModuleSpec } from "../../model/modules.ts";
import { nearestNames } from "../../schema/nearest.ts";

/** A tensor of a file, whatever the file's format. */
export interface FoundTensor {
  readonly name: string;
  readonly file: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly byteLength: number;
  /** Bytes `start` to `end`, counted from the tensor's first. */
  read(start: number, end: number): Promise<Uint8Array>;
}

/** A matrix whose rows are wanted: all features' vectors, mostly. */
export interface FoundMatrix {
  readonly tensor: FoundTensor;
  readonly rows: number;
  readonly width: number;
  /** The file has it as [width, rows]. */
  readonly isTransposed?: boolean;
  /** The file has so many of the rows' vectors behind one another, [rows, of, width], of which this is number `at`. */
  readonly slice?: { readonly at: number; readonly of: number };
  /** Factors of the rows, and of all of it. */
  readonly rowScale?: FoundTensor | undefined;
  readonly scale?: number | undefined;
}

/** A dictionary of one block, as a file has it. */
export interface FoundModule {
  readonly spec: Omit<ModuleSpec, "group" | "error">;
  /** By their names in `ModuleWeights`: `W_enc` [dSae, dIn], `W_dec` [dSae, dOut], `W_skip` [dOut, dIn]. */
  readonly matrices: Readonly<Record<string, FoundMatrix>>;
  /** By SAELens's names. */
  readonly vectors: Readonly<Record<string, FoundTensor | undefined>>;
  /** A factor of the decoder's bias. */
  readonly biasScale?: number | undefined;
  /** A tensor that may be there as long as it is 1 everywhere. */
  readonly ones?: FoundTensor | undefined;
}

/** A dictionary as a source has it. */
export interface FoundDictionary {
  readonly label: string;
  readonly format: string;
  /** The file of settings, where there is one. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly modules: readonly FoundModule[];
  /** What a person should know before using it. */
  readonly notices?: readonly string[];
}

/** The tensors of files, each to be named before it is used. */
export class Tensors {
  readonly #used = new Set<string>();

  constructor(
    private readonly label: string,
    private readonly tensors: ReadonlyMap<string, FoundTensor>,
  ) {}

  has(name: string): boolean {
    return this.tensors.has(name);
  }

  /**
   * The tensor of a name, of exactly that shape.
   * @throws CheckpointError `module/tensor` when it is missing or of whole numbers; ConfigError `module/shape`
   */
  take(name: string, shape: readonly number[]): FoundTensor {
    const tensor = this.tensors.get(name);
    if (!tensor) {
      const there = nearestNames(name, this.tensors.keys(), 4).join(", ");
      throw new CheckpointError(
        "module/tensor",
        `${this.label} has no tensor ${name}; nearest: ${there}. Check that the file is whole and of this format.`,
      );
    }
    if (!isFloat(tensor.dtype))
      throw new CheckpointError(
        "module/tensor",
        `${this.label}: tensor ${name} holds ${tensor.dtype}; a dictionary's are floating-point numbers.`,
      );
    const fits = tensor.shape.length === shape.length && shape.every((size, axis) => size === tensor.shape[axis]);
    if (!fits)
      throw new ConfigError(
        "module/shape",
        `${this.label}: tensor ${name} is [${tensor.shape.join(", ")}], and by the settings and the other tensors it must be [${shape.join(", ")}]. Check that settings and weights belong together.`,
      );
    this.#used.add(name);
    return tensor;
  }

  /** The same, or undefined where there is none. */
  maybe(name: string, shape: readonly number[]): FoundTensor | undefined {
    return this.has(name) ? this.take(name, shape) : undefined;
  }

  /** The shape of a tensor that must be there, with so many axes. */
  shapeOf(name: string, axes: number): readonly number[] {
    const shape = this.tensors.get(name)?.shape ?? [];
    return this.take(name, shape.length === axes ? shape : Array<number>(axes).fill(0)).shape;
  }

  /** @throws CheckpointError `module/tensor` for tensors that nobody took: what they do is not known. */
  assertAllUsed(): void {
    const left = [...this.tensors.keys()].filter((name) => !this.#used.has(name));
    if (left.length === 0) return;
    throw new CheckpointError(
      "module/tensor",
      `${this.label} has ${left.slice(0, 4).join(", ")}${left.length > 4 ? `, and ${left.length - 4} more` : ""}, which a dictionary of this architecture does not read. Check the architecture that its settings name.`,
    );
  }
}

/** @throws CheckpointError `module/tensor` for a type that cannot be read */
export function dtypeOf(label: string, name: string, dtype: string): Dtype {
  if (isDtype(dtype)) return dtype;
  throw new CheckpointError(
    "module/tensor",
    `${label}: tensor ${name} has the type ${dtype}, which cannot be read. Convert it to F32, F16 or BF16.`,
  );
}
