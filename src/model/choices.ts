/**
 * Which product each shape class takes on a device: what the tuner found, or the default of the kind of adapter.
 *
 * A class is the number of rows (one, a few, many), the layout and the storage of the weights: what decides between
 * kernels. The other two sizes hardly do.
 */
import type { Gpu } from "../gpu/gpu.ts";
import type { StorageType } from "./kernels.ts";
import { defaultProduct, fits, PRODUCTS, type Product, REFERENCE_PRODUCT, type WeightLayout } from "./products.ts";

/** Rows of a class at most, and a number of rows that stands for it when it is timed. */
export const ROW_CLASSES = [
  { name: "1 row", most: 1, typical: 1 },
  { name: "2-4 rows", most: 4, typical: 4 },
  { name: "5-8 rows", most: 8, typical: 8 },
  { name: "9 rows or more", most: Number.POSITIVE_INFINITY, typical: 128 },
] as const;

export type RowClass = (typeof ROW_CLASSES)[number];

/** What a product is chosen for. */
export interface ShapeClass {
  readonly rows: RowClass;
  readonly layout: WeightLayout;
  readonly storage: StorageType;
}

/** Names of products by class, as the tuner writes them down. */
export type Choices = Record<string, string>;

const tuned = new WeakMap<Gpu, Map<string, Product>>();
const referenceOnly = new WeakSet<Gpu>();

export function classKey(rowClass: RowClass, layout: WeightLayout, storage: StorageType): string {
  return `${rowClass.name}, ${layout}, ${storage}`;
}

/** The class that a number of rows belongs to. */
export function rowClassOf(rows: number): RowClass {
  return ROW_CLASSES.find(({ most }) => rows <= most) as RowClass;
}

/** The product for that many rows of such a matrix on this device. */
export function productFor(gpu: Gpu, rows: number, layout: WeightLayout, storage: StorageType): Product {
  if (referenceOnly.has(gpu)) return REFERENCE_PRODUCT;
  const choice = tuned.get(gpu)?.get(classKey(rowClassOf(rows), layout, storage));
  return choice && fits(gpu, choice, rows, layout) ? choice : defaultProduct(gpu, rows, layout);
}

/** Whether the device has a choice for the class of that key. */
export function isTuned(gpu: Gpu, key: string): boolean {
  return tuned.get(gpu)?.has(key) ?? false;
}

/** Takes choices over; names that are no product of this version are left out. */
export function applyChoices(gpu: Gpu, choices: Choices): void {
  const map = tuned.get(gpu) ?? new Map<string, Product>();
  for (const [key, name] of Object.entries(choices)) {
    const layout = key.includes("conv1d") ? "conv1d" : "linear";
    const product = [...PRODUCTS, REFERENCE_PRODUCT].find(
      (each) => each.name === name && each.layouts.includes(layout),
    );
    if (product) map.set(key, product);
  }
  tuned.set(gpu, map);
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
