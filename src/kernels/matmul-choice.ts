/**
 * Which product each shape class takes on a device: what the tuner found, or the default of the kind of adapter.
 *
 * A class is the number of rows (one, a few, many), the layout and the storage of the weights: what decides between
 * kernels. The other two sizes hardly do.
 */
import type { Gpu } from "../gpu/gpu.ts";
import { choiceFor } from "./choices.ts";
import type { StorageType } from "./definitions.ts";
import { defaultProduct, fits, PRODUCTS, type Product, REFERENCE_PRODUCT, type WeightLayout } from "./matmul.ts";

/** Rows of a class at most, and a number of rows that stands for it when it is timed. */
export const ROW_CLASSES = [
  { name: "1 row", most: 1, typical: 1 },
  { name: "2-4 rows", most: 4, typical: 4 },
  { name: "5-8 rows", most: 8, typical: 8 },
  { name: "9-32 rows", most: 32, typical: 32 },
  { name: "33 rows or more", most: Number.POSITIVE_INFINITY, typical: 128 },
] as const;

export type RowClass = (typeof ROW_CLASSES)[number];

/** What a product is chosen for. */
export interface ProductClass {
  readonly rows: RowClass;
  readonly layout: WeightLayout;
  readonly storage: StorageType;
}

const ALL_PRODUCTS = [...PRODUCTS, REFERENCE_PRODUCT];
const referenceOnly = new WeakSet<Gpu>();

/** Under which its choice is kept. */
export function productKey({ rows, layout, storage }: ProductClass): string {
  return `${rows.name}, ${layout}, ${storage}`;
}

/** The class that a number of rows belongs to. */
export function rowClassOf(rows: number): RowClass {
  return ROW_CLASSES.find(({ most }) => rows <= most) as RowClass;
}

/** What the tuner found for the class on this device, if it did. */
export function chosenProduct(gpu: Gpu, shape: ProductClass): Product | undefined {
  const choice = choiceFor(gpu, productKey(shape));
  return ALL_PRODUCTS.find(({ name, layouts }) => name === choice && layouts.includes(shape.layout));
}

/** The product for that many rows of such a matrix on this device. */
export function productFor(gpu: Gpu, rows: number, layout: WeightLayout, storage: StorageType): Product {
  if (referenceOnly.has(gpu)) return REFERENCE_PRODUCT;
  const choice = chosenProduct(gpu, { rows: rowClassOf(rows), layout, storage });
  return choice && fits(gpu, choice, rows, layout) ? choice : defaultProduct(gpu, rows, layout);
}

/** Runs `work` with every product on the device computed by its definition: slow, and right by inspection. */
export async function withReferenceProducts<T>(gpu: Gpu, work: () => Promise<T>): Promise<T> {
  referenceOnly.add(gpu);
  try {
    return await work();
  } finally {
    referenceOnly.delete(gpu);
  }
}
