/** Classes of shapes, for which the tuner decides: each has a family and a shape that stands for the whole class. */
import type { Gpu } from "../../gpu/gpu.ts";
import { ATTENTION_FAMILY, type AttentionShape, type PassKind } from "../attention.ts";
import { MATMUL_FAMILY, ROW_CLASSES } from "../matmul.ts";
import type { MatmulShape } from "../matmul-kernels.ts";
import { typicalAttention } from "./attention.ts";

/** One class of shapes. */
export type KernelClass =
  | { readonly family: "matmul"; readonly shape: MatmulShape }
  | { readonly family: "attention"; readonly shape: AttentionShape };

/** Weights of one layout and storage. */
export type MatrixKind = Pick<MatmulShape, "layout" | "storage">;

/** The classes of a model that has such matrices, and heads of such widths, most urgent first: decoding, whose kernels compile fast, then prompts. */
export function classesFor(kinds: readonly MatrixKind[], dHeads: readonly number[]): KernelClass[] {
  const [one, few, several, dozens, many] = ROW_CLASSES.map(({ typical: rows }) =>
    kinds.map((kind): KernelClass => ({ family: "matmul", shape: { rows, ...kind } })),
  ) as [KernelClass[], KernelClass[], KernelClass[], KernelClass[], KernelClass[]];
  const attention = (pass: PassKind): KernelClass[] =>
    dHeads.map((dHead) => ({ family: "attention", shape: typicalAttention(pass, dHead) }));
  // Attention takes less of both than matmuls.
  return [
    ...[...one, ...attention("few rows"), ...many, ...attention("prompts")],
    ...[...few, ...several, ...dozens, ...attention("few rows, many keys")],
  ];
}

/** What is tuned when no model says otherwise: f32 weights in both layouts, and heads of 64. */
export const USUAL_CLASSES = classesFor(
  (["linear", "conv1d"] as const).map((layout) => ({ layout, storage: "f32" })),
  [64],
);

/** Under which the class's choice is kept. */
export function keyOf({ family, shape }: KernelClass): string {
  return family === "matmul" ? MATMUL_FAMILY.keyOf(shape) : ATTENTION_FAMILY.keyOf(shape);
}

/** Whether the device has a choice for the class. */
export function isTuned(gpu: Gpu, { family, shape }: KernelClass): boolean {
  return (family === "matmul" ? MATMUL_FAMILY.tuned(gpu, shape) : ATTENTION_FAMILY.tuned(gpu, shape)) !== undefined;
}
