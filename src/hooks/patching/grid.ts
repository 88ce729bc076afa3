/**
 * What an experiment returns: one number for each (layer, column), with the names of both axes. A column is a position,
 * a head, or the whole layer; where columns are positions, a row may be a head.
 */
import { HookError } from "../../errors.ts";
import * as s from "../../schema/schema.ts";

/** The rows or columns of a grid: what they are, and which. */
export interface GridAxis {
  readonly name: "layer" | "position" | "head" | "node" | "whole" | "layerHead";
  /** Layer, position or head numbers, in the grid's order; of nodes: heads, then the MLP as one more; of heads of layers: their count. */
  readonly indices: readonly number[];
  /** One text for each: `L0`, `H3`, `L0H3`, `5:Lily`, `MLP`, `all`. */
  readonly labels: readonly string[];
  /** Of heads of layers: both numbers of each. */
  readonly pairs?: readonly (readonly [layer: number, head: number])[];
}

const DIGITS = s.simple<number>("a whole number from 0 to 100", (value) => s.isWhole(value, 0, 100));

/** A grid as plain data, for JSON, which writes a value that is NaN or infinite as null. */
export interface GridJson {
  rows: GridAxis;
  columns: GridAxis;
  values: number[][];
  base: number;
}

/** The place of a row, or -1. */
function rowOf({ indices, pairs }: GridAxis, row: number | readonly number[]): number {
  if (!Array.isArray(row)) return pairs ? -1 : indices.indexOf(row as number);
  return pairs?.findIndex(([layer, head]) => row.length === 2 && layer === row[0] && head === row[1]) ?? -1;
}

/** The place of a column, or -1. */
function columnOf({ name, indices }: GridAxis, column: number): number {
  return name === "position" && Number.isInteger(column) && column < 0
    ? Math.max(-1, indices.length + column)
    : indices.indexOf(column);
}

/** The result of an experiment: one number for each row and column. */
export class Grid {
  constructor(
    /** What the rows stand for. */
    readonly rows: GridAxis,
    /** What the columns stand for. */
    readonly columns: GridAxis,
    /** [rows, columns], row-major. */
    readonly values: Float32Array,
    /** The metric of the run that the cells change, unchanged. */
    readonly base: number,
  ) {}

  /**
   * The value for a layer and a position or head, by their numbers; `at([layer, head], position)` where rows are heads.
   * Negative positions count from the last of the grid.
   * @throws HookError `hook/not-in-grid` for numbers the grid does not have.
   */
  at(layer: number | readonly [layer: number, head: number], column = 0): number {
    const row = rowOf(this.rows, layer);
    const place = columnOf(this.columns, column);
    if (row >= 0 && place >= 0) return this.values[row * this.columns.indices.length + place] as number;
    const { name, indices, labels, pairs } = row < 0 ? this.rows : this.columns;
    const wanted =
      row >= 0 ? String(column) : Array.isArray(layer) ? `[${layer.map(String).join(", ")}]` : String(layer);
    throw new HookError(
      "hook/not-in-grid",
      pairs
        ? `The grid has no row ${wanted}; rows are [layer, head] of ${labels.join(", ")}.`
        : `The grid has no ${name} ${wanted}; it has ${indices.join(", ")}.`,
    );
  }

  /** value - base, [rows, columns]. */
  change(): Float32Array {
    return this.values.map((value) => value - this.base);
  }

  /** The values, or others of the same shape such as `change()`, as text with one line a layer. */
  toTable(values: Float32Array = this.values, digits = 3): string {
    const width = this.columns.labels.length;
    const places = s.readArgument(DIGITS, digits, "Grid.toTable", "digits");
    const shown = s.readArgument(s.anyNumbers(this.values.length), values, "Grid.toTable", "values");
    const body = this.rows.labels.map((label, row) => [
      label,
      ...[...shown.subarray(row * width, (row + 1) * width)].map((value) => value.toFixed(places)),
    ]);
    const lines = [["", ...this.columns.labels], ...body];
    const widths =
      lines[0]?.map((_, column) => Math.max(...lines.map((line) => (line[column] as string).length))) ?? [];
    return lines
      .map((line) => line.map((text, column) => text.padStart(widths[column] as number)).join("  "))
      .join("\n");
  }

  /** What `JSON.stringify` writes. */
  toJSON(): GridJson {
    const width = this.columns.indices.length;
    const values = this.rows.indices.map((_, row) => [...this.values.subarray(row * width, (row + 1) * width)]);
    return { rows: this.rows, columns: this.columns, values, base: this.base };
  }
}

/** A grid of patches between two runs, which lie at 0 and 1 of `normalized()`. */
export class PatchGrid extends Grid {
  constructor(
    rows: GridAxis,
    columns: GridAxis,
    values: Float32Array,
    base: number,
    /** The metric of the clean run. */
    readonly clean: number,
    /** The metric of the corrupted run. */
    readonly corrupted: number,
    /** With several pairs of prompts the grid of each, of which this one is the mean; else none. */
    readonly prompts: readonly PatchGrid[] = [],
  ) {
    super(rows, columns, values, base);
  }

  /**
   * (value - corrupted) / (clean - corrupted): 0 is the corrupted behaviour, 1 the clean one. Values may lie outside.
   * @throws HookError `hook/same-metric` when both runs give one number, so that nothing can be told apart by it.
   */
  normalized(): Float32Array {
    const { clean, corrupted } = this;
    if (clean === corrupted) {
      throw new HookError(
        "hook/same-metric",
        `The clean and the corrupted run both give ${clean}, so values cannot be normalized. Choose prompts or a metric that tell them apart.`,
      );
    }
    return this.values.map((value) => (value - corrupted) / (clean - corrupted));
  }

  /** What `JSON.stringify` writes. */
  override toJSON(): GridJson & { clean: number; corrupted: number; prompts?: unknown[] } {
    const { clean, corrupted, prompts } = this;
    const each = prompts.length > 0 ? { prompts: prompts.map((grid) => grid.toJSON()) } : {};
    return { ...super.toJSON(), clean, corrupted, ...each };
  }
}
