/** One line of a verification: a measured number, and its bound. */

/** The parts of a verification, in the order in which they run; docs/theory.md has a section for each. */
export const GROUPS = ["exactness", "resources", "causality", "heads", "robustness"] as const;

/** A part of the verification. */
export type Group = (typeof GROUPS)[number];

/** How a measured number should lie to its bound. */
export type Relation = "<=" | ">=" | "=";

/** A statement about a constructed model, and what was measured. */
export interface Claim {
  group: Group;
  name: string;
  measured: number;
  relation: Relation;
  bound: number;
  ok: boolean;
  /** What the numbers belong to, or why it must be so. */
  note?: string;
}

const HOLDS: Record<Relation, (measured: number, bound: number) => boolean> = {
  "<=": (measured, bound) => measured <= bound,
  ">=": (measured, bound) => measured >= bound,
  "=": (measured, bound) => measured === bound,
};

/** A claim, checked. NaN holds nowhere. */
export function claim(
  group: Group,
  name: string,
  measured: number,
  relation: Relation,
  bound: number,
  note?: string,
): Claim {
  const ok = HOLDS[relation](measured, bound);
  return { group, name, measured, relation, bound, ok, ...(note !== undefined && { note }) };
}

/** Bound on |p - p*| when the engine computes in float32. */
export const FLOAT32_BOUND = 2e-5;

/** Bound on |p - p*| in float64, see the proof in docs/theory.md. */
export const FLOAT64_BOUND = 1e-9;
