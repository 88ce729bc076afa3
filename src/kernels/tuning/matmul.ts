/** Workloads of matmul: random rows, and for each storage type random matrices that serve both layouts. */
import type { Gpu } from "../../gpu/gpu.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { matmul } from "../calls.ts";
import { MATMUL_FAMILY, ROW_CLASSES, rowClassOf } from "../matmul.ts";
import type { MatmulKernel, MatmulShape } from "../matmul-kernels.ts";
import type { Matrix } from "../matrix.ts";
import { ELEMENT_BYTES, rowStep, type StorageType } from "../storage.ts";
import { largestError, randomWords, resultOf, type Workload } from "./workload.ts";

/** Sizes of a matmul: out [rows, outWidth] = x [rows, width] W. */
export interface MatmulSizes {
  readonly rows: number;
  readonly width: number;
  readonly outWidth: number;
}

/** What the tuner times: a matrix as wide as GPT-2's, small enough for a CPU. */
const TUNED: MatmulSizes = { rows: Math.max(...ROW_CLASSES.map(({ typical }) => typical)), width: 768, outWidth: 768 };

interface MatmulOperandsOptions {
  /** Default: the tuner's. */
  sizes?: MatmulSizes;
  /** What the matrices that repetitions take in turn come to at least; default: one matrix. */
  weightBytes?: number;
  signal?: AbortSignal | undefined;
}

export class MatmulOperands {
  readonly #x: Tensor;
  readonly #out: Tensor;
  readonly #weights = new Map<StorageType, Tensor[]>();
  readonly #sizes: MatmulSizes;

  constructor(
    private readonly gpu: Gpu,
    private readonly options: MatmulOperandsOptions = {},
  ) {
    this.#sizes = options.sizes ?? TUNED;
    const { rows, width, outWidth } = this.#sizes;
    this.#x = gpu.tensorFrom(randomWords(rows * width, "f32", 1), [rows, width], "rows for timing");
    this.#out = gpu.tensor([rows, outWidth], "result for timing");
  }

  /** Of `shape.rows` rows; the kernels of `checking`, which has the tuner's sizes, are the same, and are checked there. */
  workload(shape: MatmulShape, checking: MatmulOperands = this): Workload<MatmulKernel> {
    const { width, outWidth } = this.#sizes;
    return {
      operations: 2 * shape.rows * width * outWidth,
      bytes: ELEMENT_BYTES[shape.storage] * width * outWidth,
      record: (recorder, kernel, repetition) =>
        matmul(recorder, this.#x, shape.rows, this.#matrix(shape, width, outWidth, repetition), this.#out, { kernel }),
      error: (kernel) => checking.error(kernel, shape),
    };
  }

  /** A kernel's largest relative error on the width that is tuned, and on one where nothing is even. */
  error(kernel: MatmulKernel, { rows, ...kind }: MatmulShape): Promise<number> {
    const { typical } = rowClassOf(rows);
    const tasks = [
      { rows: typical, W: this.#matrix(kind, TUNED.width, 200) },
      { rows: Math.max(1, typical - 1), W: this.#matrix(kind, 70, 77) },
    ];
    return largestError(kernel, MATMUL_FAMILY.reference, tasks, (each, task) => this.#result(each, task.rows, task.W));
  }

  /** What a kernel computes, [rows, W.outWidth]. */
  #result(kernel: MatmulKernel, rows: number, W: Matrix): Promise<Float32Array> {
    const record = (recorder: Recorder, out: Tensor) => matmul(recorder, this.#x, rows, W, out, { kernel });
    return resultOf(this.gpu, kernel.name, [rows, W.outWidth], record, this.options.signal);
  }

  #matrix({ layout, storage }: Pick<Matrix, "layout" | "storage">, width: number, outWidth: number, index = 0): Matrix {
    const step = rowStep(storage);
    const stride = step * Math.ceil((layout === "linear" ? width : outWidth) / step);
    const weights = this.#weightsOf(storage);
    const { buffer } = weights[index % weights.length] as Tensor;
    return { outWidth, width, layout, stride, storage, parts: [{ buffer, firstRow: 0, rows: outWidth }] };
  }

  #weightsOf(storage: StorageType): Tensor[] {
    const known = this.#weights.get(storage);
    if (known) return known;
    const bytes = this.#sizes.width * this.#sizes.outWidth * ELEMENT_BYTES[storage];
    const words = randomWords(bytes / 4, storage, 2);
    const copies = Math.max(1, Math.ceil((this.options.weightBytes ?? 0) / bytes));
    const weights = Array.from({ length: copies }, () =>
      this.gpu.tensorFrom(words, [words.length], "weights for timing"),
    );
    this.#weights.set(storage, weights);
    return weights;
  }

  /** The end of a `using` block. */
  [Symbol.dispose](): void {
    for (const tensor of [this.#x, this.#out, ...[...this.#weights.values()].flat()]) tensor.destroy();
  }
}
