/**
 * The residual stream as named subspaces.
 *
 * The construction keeps every quantity in directions of its own, so that a head or a neuron can be read as a
 * sentence: "reads WEIGHT, writes LOGIT". Only `ResidualLayout` knows offsets. A map declares the subspaces that it reads and
 * writes, and refuses to be built if it uses any other (after tracr, Lindner et al. 2023, arXiv 2301.05062).
 */
import { TheoryError } from "./errors.ts";

/** What each subspace holds; the order is their order in the residual stream. */
export const SPACES = {
  TOK: "one-hot of the token (vector form: the vector itself)",
  DER: "one-hot of the derived sum, at the last input slot",
  ONE: "1 at every position",
  BOS: "1 at position 0, the place where heads park",
  COUNT: "1 at the 2^q positions the weigh heads average over: all labels, padded with slot-0 positions",
  JB: "binary code (+-1) of the example index; 0 at position 0",
  IB: "binary code (+-1) of the slot; 0 at position 0",
  ACC: "running sum of the operands' values",
  MATCH: "at a label: 1 if task k explains the example",
  WEIGHT: "at the last position: w_k, the share of examples task k explains",
  LOGIT: "logit(w_k)",
  OUT: "the superposed answer, sum_k w_k P_k x",
  LOG: "log of OUT, what the unembedding reads",
} as const;

/** A named subspace of the residual stream. */
export type SpaceName = keyof typeof SPACES;

/** A subspace's place in the residual stream: dimensions `start` up to `start + size`. */
export interface SpaceSpan {
  name: SpaceName;
  start: number;
  size: number;
}

/** `value` times basis direction `index` of a subspace. */
export interface Term {
  space: SpaceName;
  index: number;
  value: number;
}

/** A vector of the residual stream (or a functional on it), as a sum of named directions. */
export type Combination = readonly Term[];

/** `value` times direction `index` of `space`. */
export function along(space: SpaceName, index = 0, value = 1): Term {
  return { space, index, value };
}

/** The residual stream cut into subspaces, laid out in the order of `SPACES`. Absent spaces have size 0. */
export class ResidualLayout {
  readonly spans: readonly SpaceSpan[];
  readonly dModel: number;

  constructor(sizes: Partial<Record<SpaceName, number>>) {
    let start = 0;
    this.spans = (Object.keys(SPACES) as SpaceName[]).map((name) => {
      const span = { name, start, size: sizes[name] ?? 0 };
      start += span.size;
      return span;
    });
    this.dModel = start;
  }

  /** Where `name` sits, for captures and edits of the running model. */
  span(name: SpaceName): SpaceSpan {
    const span = this.spans.find((candidate) => candidate.name === name);
    if (span === undefined) throw new TheoryError("theory/subspace", `there is no subspace ${name}`);
    return span;
  }

  /** The residual dimension of one direction. Throws `theory/subspace` if the subspace has no such direction. */
  dimension(space: SpaceName, index: number): number {
    const { start, size } = this.span(space);
    if (!Number.isInteger(index) || index < 0 || index >= size) {
      throw new TheoryError(
        "theory/subspace",
        `${space} has directions 0 to ${size - 1}, and direction ${index} was asked for`,
      );
    }
    return start + index;
  }
}

/** The subspaces a map may read and write; everything else is refused. */
export interface MapDeclaration {
  /** Says which map it is in errors, such as `match head 2, query`. */
  name: string;
  reads?: readonly SpaceName[];
  writes?: readonly SpaceName[];
}

/** A non-zero weight between a unit of a map and a residual dimension. */
export interface MapEntry {
  unit: number;
  dimension: number;
  value: number;
}

/**
 * A linear map residual -> units -> residual, built one unit (a head dimension, a neuron) at a time.
 * Both halves throw `theory/subspace` when a unit touches a subspace the declaration does not name.
 */
export class LinearMap {
  readonly readEntries: MapEntry[] = [];
  readonly writeEntries: MapEntry[] = [];

  constructor(
    private readonly layout: ResidualLayout,
    readonly declaration: MapDeclaration,
  ) {}

  /** Unit `unit` takes the inner product of the residual with `combination`. */
  read(unit: number, combination: Combination): void {
    this.add(this.readEntries, "read", this.declaration.reads ?? [], unit, combination);
  }

  /** Unit `unit` adds its value times `combination` to the residual. */
  write(unit: number, combination: Combination): void {
    this.add(this.writeEntries, "write", this.declaration.writes ?? [], unit, combination);
  }

  private add(
    entries: MapEntry[],
    verb: "read" | "write",
    allowed: readonly SpaceName[],
    unit: number,
    combination: Combination,
  ): void {
    for (const { space, index, value } of combination) {
      if (!allowed.includes(space)) {
        throw new TheoryError(
          "theory/subspace",
          `${this.declaration.name} may ${verb} ${allowed.join(", ") || "nothing"}, and was built to ${verb} ${space}; ` +
            `declare ${space} or leave it alone`,
        );
      }
      entries.push({ unit, dimension: this.layout.dimension(space, index), value });
    }
  }
}
