/**
 * Gradients of weights: what the rows of a pass add to them. They go to memory that the pass supplies, always in float32, and
 * are added to what is there: by the embedding and a tied unembedding, by the passes of a batch in parts, by an optimizer's
 * micro-batches.
 */
import { addHeadWeightGradient, addTableGradient, addVectorGradient, addWeightGradient } from "../kernels/gradients.ts";
import type { View } from "../kernels/view.ts";
import { gradientsOf } from "./bindings.ts";
import { defineOp, type WeightRef } from "./op.ts";

/** dW [out, in] += sum over rows of dy[row] x[row]^T, for a projection x W^T; inputs dy and x. */
export const WEIGHT_GRADIENT = defineOp<{ weight: WeightRef }>({
  name: "weightGradient",
  formula: "dW += dy^T x",
  shapes: () => [],
  hasEffect: true,
  reference({ attributes: { weight }, inputs: [dy, x], inputShapes, rows, addGradient }) {
    const [outWidth, width] = inputShapes.map((shape) => shape.heads * shape.width) as [number, number];
    const dW = new Float64Array(outWidth * width);
    for (let row = 0; row < rows.count; row++) {
      for (let n = 0; n < outWidth; n++) {
        const factor = dy?.[row * outWidth + n] as number;
        for (let k = 0; k < width; k++) {
          dW[n * width + k] = (dW[n * width + k] as number) + factor * (x?.[row * width + k] as number);
        }
      }
    }
    addGradient(weight, dW);
    return [];
  },
  lower({ recorder, attributes: { weight }, inputs, rows, bindings }) {
    const [dy, x] = inputs as [View, View];
    addWeightGradient(recorder, dy, x, rows.count, gradientsOf(bindings).matrix(weight));
  },
});

/** The same for W_O, of each head's result and z: dW_O[d, head, k] += result[head, d] z[head, k]. */
export const HEAD_WEIGHT_GRADIENT = defineOp<{ weight: WeightRef }>({
  name: "headWeightGradient",
  formula: "dW_O[head] += result[head]^T z[head]",
  shapes: () => [],
  hasEffect: true,
  reference({ attributes: { weight }, inputs: [result, z], inputShapes, rows, addGradient }) {
    const [{ heads, width: dModel }, { width }] = inputShapes as [{ heads: number; width: number }, { width: number }];
    const dW = new Float64Array(dModel * heads * width);
    for (let row = 0; row < rows.count; row++) {
      for (let head = 0; head < heads; head++) {
        for (let d = 0; d < dModel; d++) {
          const factor = result?.[(row * heads + head) * dModel + d] as number;
          for (let k = 0; k < width; k++) {
            const at = (d * heads + head) * width + k;
            dW[at] = (dW[at] as number) + factor * (z?.[(row * heads + head) * width + k] as number);
          }
        }
      }
    }
    addGradient(weight, dW);
    return [];
  },
  lower({ recorder, attributes: { weight }, inputs, rows, bindings }) {
    const [result, z] = inputs as [View, View];
    addHeadWeightGradient(recorder, result, z, rows.count, gradientsOf(bindings).matrix(weight));
  },
});

export interface VectorGradientAttributes {
  readonly weight: WeightRef;
  /** Of a norm: its weight or its bias. */
  readonly part?: "w" | "b";
  /** Elements of the vector, when the row holds several that share it (q/k norm of each head); default: the row's. */
  readonly width?: number;
}

/** dv += the sum over rows of dy, or of dy times the second input: biases, and weights and biases of norms. */
export const VECTOR_GRADIENT = defineOp<VectorGradientAttributes>({
  name: "vectorGradient",
  formula: "dv += sum over rows of dy (* x)",
  shapes: () => [],
  hasEffect: true,
  reference({ attributes, inputs: [dy, x], inputShapes: [shape], addGradient }) {
    const { weight, part, width = (shape?.heads as number) * (shape?.width as number) } = attributes;
    const dv = new Float64Array(width);
    dy?.forEach((value, i) => {
      dv[i % width] = (dv[i % width] as number) + value * (x?.[i] ?? 1);
    });
    addGradient(weight, dv, part);
    return [];
  },
  lower({ recorder, attributes, inputs, rows, bindings }) {
    const [dy, x] = inputs as [View, View | undefined];
    const { weight, part } = attributes;
    const row = dy.heads * dy.width;
    const width = attributes.width ?? row;
    addVectorGradient(recorder, dy, x, (rows.count * row) / width, width, gradientsOf(bindings).vector(weight, part));
  },
});

/** Which rows of a table the rows of a pass have. */
export interface TableRows {
  readonly table: WeightRef;
  readonly width: number;
  /** What numbers the table's rows. */
  readonly by: "token" | "position";
  /** Added to that number (opt: positions start at 2). */
  readonly offset: number;
  /** Multiplies the row (gemma: sqrt(dModel)). */
  readonly scale: number;
}

/** dTable[index of row] += scale * dy[row]. */
export const TABLE_GRADIENT = defineOp<TableRows>({
  name: "tableGradient",
  formula: "dTable[token or position + offset] += dy * scale",
  shapes: () => [],
  hasEffect: true,
  reference({ attributes: { table, width, by, offset, scale }, inputs: [dy], rows, weight, addGradient }) {
    const dTable = new Float64Array((weight(table) as Float64Array).length);
    for (let row = 0; row < rows.count; row++) {
      const start = ((by === "token" ? rows.token(row) : rows.position(row)) + offset) * width;
      for (let d = 0; d < width; d++) {
        dTable[start + d] = (dTable[start + d] as number) + scale * (dy?.[row * width + d] as number);
      }
    }
    addGradient(table, dTable);
    return [];
  },
  lower({ recorder, attributes: { table, by, offset, scale }, inputs, rows, bindings }) {
    const index = (row: number) => (by === "token" ? rows.token(row) : rows.position(row)) + offset;
    const indices = Array.from({ length: rows.count }, (_, row) => index(row));
    addTableGradient(recorder, inputs[0] as View, indices, scale, gradientsOf(bindings).matrix(table));
  },
});
