/** How ops name weights. */

/** A weight, by its name in `Weights`, or in a block or a module of them. */
export interface WeightRef {
  readonly name: string;
  readonly block?: number | undefined;
  readonly module?: number | undefined;
}

/** The weights that attributes name, wherever in them. */
export function weightsIn(attributes: unknown): WeightRef[] {
  if (typeof attributes !== "object" || attributes === null) return [];
  if ("name" in attributes && typeof attributes.name === "string") return [attributes as WeightRef];
  return Object.values(attributes).flatMap(weightsIn);
}

/** Chooses weights, or one part of a norm's: its weight or its bias. */
export type WeightChoice = (ref: WeightRef, part?: "w" | "b") => boolean;
