/** Products that are wrong in a known way, to see that they are not taken. */
import { expect } from "vitest";
import { PRODUCTS, type Product } from "../../src/kernels/matmul.ts";

export const productNamed = (name: string) =>
  PRODUCTS.find((product) => product.name === name && product.layouts.includes("linear")) as Product;

/** A product under another name, with a change to its WGSL that must find something to change. */
function altered(product: Product, name: string, change: (code: string) => string): Product {
  return {
    ...product,
    name,
    kernel(...shape) {
      const kernel = product.kernel(...shape);
      const code = change(kernel.code);
      expect(code).not.toBe(kernel.code);
      return { ...kernel, name: `${name} of ${kernel.name}`, code };
    },
  };
}

/** Next to nothing to do, and wrong. The right ones of many rows take a hundred times as long, on a busy machine too. */
export const HASTY = altered(productNamed("block 16x8x8"), "hasty", (code) =>
  code.replace("k < params.width", "k < 1u"),
);

/** What no driver takes. */
export const BROKEN = altered(productNamed("lanes 4x8"), "broken", (code) => code.replace("fn main", "fnmain"));
