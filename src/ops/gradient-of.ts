/** Marks a value whose gradient people look at. Differentiation puts a capture of the gradient in its place. */
import { defineOp } from "./op.ts";

export const GRADIENT_OF = defineOp<{ index: number; headFirst: boolean }>({
  name: "gradientOf",
  formula: "read d metric / dx",
  shapes: () => [],
  hasEffect: true,
  lower() {
    throw new TypeError("A graph with marks of gradients is differentiated before it is lowered.");
  },
});
