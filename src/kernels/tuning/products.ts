/** Contests of products: one random matrix for each storage, met by as many rows as stand for the class. */
import type { Gpu } from "../../gpu/gpu.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { matmul } from "../calls.ts";
import type { StorageType } from "../definitions.ts";
import { defaultProduct, fits, PRODUCTS, type Product, REFERENCE_PRODUCT } from "../matmul.ts";
import { type ProductClass, productKey, ROW_CLASSES } from "../matmul-choice.ts";
import { ELEMENT_BYTES, type Matrix } from "../matrix.ts";
import { type Candidate, type Contest, largestError, randomWords, resultOf } from "./contest.ts";

/** The side of the matrix that is timed: GPT-2's, small enough for a CPU. */
const SIDE = 768;

/** The products that the device can run on such a shape. */
export function productContest(
  operands: ProductOperands,
  shape: ProductClass,
  products: readonly Product[] = PRODUCTS,
): Contest {
  const { gpu, x, out } = operands;
  const { layout, storage } = shape;
  const rows = shape.rows.typical;
  const candidate = (product: Product): Candidate => ({
    name: product.name,
    record: (recorder) => matmul(recorder, x, rows, operands.matrix(shape, SIDE, SIDE), out, { product }),
    error: () => productError(operands, product, shape),
  });
  const first = defaultProduct(gpu, rows, layout);
  const others = products.filter((product) => product !== first && fits(gpu, product, rows, layout));
  const isKin = ({ name }: Product) => name.split(" ")[0] === first.name.split(" ")[0];
  return {
    key: productKey(shape),
    candidates: [
      candidate(first),
      ...others.filter(isKin).map(candidate),
      ...others.filter((product) => !isKin(product)).map(candidate),
    ],
    reference: REFERENCE_PRODUCT.name,
    operations: 2 * rows * SIDE * SIDE,
    bytes: ELEMENT_BYTES[storage] * SIDE * SIDE,
  };
}

/** The largest relative error of a product on the width that is timed, and on one where nothing is even. */
export function productError(
  operands: ProductOperands,
  product: Product,
  { rows, ...kind }: ProductClass,
): Promise<number> {
  const tasks = [
    { rows: rows.typical, W: operands.matrix(kind, SIDE, 200) },
    { rows: Math.max(1, rows.typical - 1), W: operands.matrix(kind, 70, 77) },
  ];
  return largestError(product, REFERENCE_PRODUCT, tasks, (each, { rows, W }) => operands.product(each, rows, W));
}

/** What is multiplied: random rows, and for each storage one buffer of random weights, which serves every shape. */
export class ProductOperands {
  readonly x: Tensor;
  readonly out: Tensor;
  readonly #weights = new Map<StorageType, Tensor>();

  constructor(
    readonly gpu: Gpu,
    private readonly signal?: AbortSignal | undefined,
  ) {
    const most = Math.max(...ROW_CLASSES.map(({ typical }) => typical));
    this.x = gpu.tensorFrom(randomWords(most * SIDE, "f32", 1), [most, SIDE], "rows for timing");
    this.out = gpu.tensor([most, SIDE], "result for timing");
  }

  matrix({ layout, storage }: Pick<Matrix, "layout" | "storage">, width: number, outWidth: number): Matrix {
    const stride = 4 * Math.ceil((layout === "linear" ? width : outWidth) / 4);
    const { buffer } = this.#weightsOf(storage);
    return { outWidth, width, layout, stride, storage, parts: [{ buffer, firstRow: 0, rows: outWidth }] };
  }

  #weightsOf(storage: StorageType): Tensor {
    let weights = this.#weights.get(storage);
    if (!weights) {
      const words = (SIDE * SIDE * ELEMENT_BYTES[storage]) / 4;
      weights = this.gpu.tensorFrom(randomWords(words, storage, 2), [words], "weights for timing");
      this.#weights.set(storage, weights);
    }
    return weights;
  }

  /** What a product computes, [rows, W.outWidth]. */
  product(product: Product, rows: number, W: Matrix): Promise<Float32Array> {
    const record = (recorder: Recorder, out: Tensor) => matmul(recorder, this.x, rows, W, out, { product });
    return resultOf(this.gpu, product.name, [rows, W.outWidth], record, this.signal);
  }

  [Symbol.dispose](): void {
    for (const tensor of [this.x, this.out, ...this.#weights.values()]) tensor.destroy();
  }
}
