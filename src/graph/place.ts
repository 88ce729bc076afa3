/**
 * Places: which memory each value of a graph has, and for how long.
 *
 * A slot is memory that one value has after another: an op that computes in place hands on the slot of its input. A slot
 * begins with its first value and ends after the last op that reads one of its values, so that nothing above this file has
 * to say when memory is free. Sizes stay open: they are a number for each row, and a pass knows its rows.
 */
import { CONCAT, type ConcatAttributes, eachPart } from "../ops/concat.ts";
import { COPY } from "../ops/copy.ts";
import { makeOp, type Op, type RowSet, type Value } from "../ops/op.ts";
import type { Graph } from "./graph.ts";

/** Vectors of a row: so many of so many elements, or of an element a key. */
export interface Place {
  readonly slot: number;
  readonly heads: number;
  readonly width: number | "keys";
  /** Elements before the value in a row, and of a whole row; `keys`: the row is the value's own vectors. */
  readonly start: number;
  readonly rowStride: number | "keys";
}

/** Memory that is not the pass's own: the key-value cache, or the tensor that the logits go to. */
export type Outside = "cache" | "logits";

export interface Slot {
  readonly outside: Outside | undefined;
  /** What it has to hold: for each set of rows, elements a row. */
  readonly holds: Map<RowSet, { heads: number; width: number | "keys" }>;
}

export interface PlacedOp {
  readonly op: Op;
  readonly inputs: readonly Place[];
  readonly outputs: readonly Place[];
  /** Which rows it runs for. */
  readonly rows: RowSet;
  /** Slots that nobody reads after it. */
  readonly frees: readonly number[];
}

export interface Plan {
  readonly ops: readonly PlacedOp[];
  readonly slots: readonly Slot[];
}

/** Gives every value of the graph its place. */
export function place(graph: Graph): Plan {
  return new Placing(graph).plan();
}

class Placing {
  readonly #slots: Slot[] = [];
  readonly #places = new Map<Value, Place>();
  readonly #placed: Omit<PlacedOp, "frees">[] = [];
  /** The last op that reads a value. */
  readonly #lastRead = new Map<Value, Op>();
  /** Values that become, in place, a value outside: they lie there from the start. */
  readonly #outside = new Map<Value, Outside>();
  /** Values that are put side by side, and lie so from the start where their makers can write them there. */
  readonly #within = new Map<Value, { readonly whole: Value; readonly start: number }>();

  constructor(private readonly graph: Graph) {
    for (const op of graph.ops) for (const value of op.inputs) this.#lastRead.set(value, op);
    if (graph.output) this.#outside.set(graph.output, "logits");
    for (const op of [...graph.ops].reverse()) {
      if (op.kind === CONCAT) this.#joinParts(op as Op<ConcatAttributes>);
      // The outputs of an op lie side by side: all of them there, or none.
      if (!op.kind.writesViews || op.outputs.some((value) => !this.#within.has(value)))
        for (const value of op.outputs) this.#within.delete(value);
      op.outputs.forEach((value, index) => {
        if (value.isCached) this.#outside.set(value, "cache");
        const before = inPlaceOf(op, index);
        if (!before || !this.#takesOver(op, before)) return;
        const [outside, within] = [this.#outside.get(value), this.#within.get(value)];
        if (outside) this.#outside.set(before, outside);
        if (within) this.#within.set(before, within);
      });
    }
  }

  #joinParts(op: Op<ConcatAttributes>): void {
    const whole = op.outputs[0] as Value;
    eachPart(op.attributes.parts, (_, start, input) => {
      const value = input === undefined ? undefined : (op.inputs[input] as Value);
      if (value?.rows === whole.rows && this.#takesOver(op as Op, value)) this.#within.set(value, { whole, start });
    });
  }

  plan(): Plan {
    for (const op of this.graph.ops) this.#placeOp(op);
    return { ops: withFrees(this.#placed), slots: this.#slots };
  }

  #placeOp(op: Op): void {
    const inputs = [...op.inputs];
    const outputs = op.outputs.map((_, index) => {
      const before = inPlaceOf(op, index);
      if (before === undefined) return undefined;
      // A value that is still needed as it is, or read beside itself, is copied; the copy is what is changed.
      const own = this.#takesOver(op, before) ? before : this.#copied(before, op.outputs[index] as Value);
      inputs[op.inputs.indexOf(before)] = own;
      return this.#places.get(own);
    });
    // What does not take over memory lies side by side in memory of its own.
    const fresh = op.outputs.filter((value, index) => outputs[index] === undefined && !this.#isPlaced(value));
    const places = this.#sideBySide(fresh);
    const all = op.outputs.map((value, index) => {
      const at = outputs[index] ?? this.#placeWithin(value) ?? (places.shift() as Place);
      this.#places.set(value, at);
      this.#hold(at.slot, value, at.rowStride);
      return at;
    });
    this.#push({ ...op, inputs }, all);
  }

  /** Whether the value has its place in another, or is such another of which a part was made. */
  #isPlaced(value: Value): boolean {
    return this.#within.has(value) || this.#places.has(value);
  }

  #placeWithin(value: Value): Place | undefined {
    const within = this.#within.get(value);
    if (!within) return this.#places.get(value);
    const { whole, start } = within;
    const [around] = this.#places.has(whole) ? [this.#places.get(whole) as Place] : this.#sideBySide([whole]);
    this.#places.set(whole, around as Place);
    return { ...(around as Place), heads: value.heads, width: value.width, start };
  }

  #push(op: Op, outputs: readonly Place[]): void {
    const inputs = op.inputs.map((value) => this.#places.get(value) as Place);
    this.#placed.push({ op, inputs, outputs, rows: (op.outputs[0] ?? op.inputs[0])?.rows as RowSet });
  }

  /** Whether the op may change the value where it lies: nobody reads it later, nor the op itself beside that. */
  #takesOver(op: Op, value: Value): boolean {
    return this.#lastRead.get(value) === op && op.inputs.indexOf(value) === op.inputs.lastIndexOf(value);
  }

  #copied(value: Value, target: Value): Value {
    const copy = makeOp<object>(COPY, [value], {}, { rows: value.rows, layer: value.layer });
    const own = copy.outputs[0] as Value;
    const outside = this.#outside.get(target);
    if (outside) this.#outside.set(own, outside);
    const [at] = this.#sideBySide([own]) as [Place];
    this.#places.set(own, at);
    this.#hold(at.slot, own, at.rowStride);
    this.#push(copy as Op, [at]);
    return own;
  }

  #sideBySide(values: readonly Value[]): Place[] {
    const inside = values.filter((value) => !this.#outside.has(value));
    const total = inside.reduce((sum, { heads, width }) => sum + (width === "keys" ? Number.NaN : heads * width), 0);
    const slot = inside.length > 0 ? this.#slots.push({ outside: undefined, holds: new Map() }) - 1 : -1;
    let start = 0;
    return values.map((value) => {
      const { heads, width } = value;
      const outside = this.#outside.get(value);
      if (outside) {
        const own = this.#slots.push({ outside, holds: new Map() }) - 1;
        return { slot: own, heads, width, start: 0, rowStride: width === "keys" ? "keys" : heads * width };
      }
      const at: Place = { slot, heads, width, start, rowStride: width === "keys" ? "keys" : total };
      if (width !== "keys") start += heads * width;
      return at;
    });
  }

  #hold(slot: number, { rows, heads, width }: Value, rowStride: number | "keys"): void {
    const { holds } = this.#slots[slot] as Slot;
    holds.set(rows, rowStride === "keys" ? { heads, width } : { heads: 1, width: rowStride });
  }
}

function inPlaceOf(op: Op, output: number): Value | undefined {
  const index = op.kind.inPlace?.(op.attributes)[output];
  return index === undefined ? undefined : op.inputs[index];
}

/** Each slot ends after the last op that reads or makes a value in it. */
function withFrees(ops: readonly Omit<PlacedOp, "frees">[]): PlacedOp[] {
  const last = new Map<number, number>();
  ops.forEach(({ inputs, outputs }, index) => {
    for (const { slot } of [...inputs, ...outputs]) last.set(slot, index);
  });
  const frees = ops.map((): number[] => []);
  for (const [slot, index] of last) frees[index]?.push(slot);
  return ops.map((op, index) => ({ ...op, frees: frees[index] as number[] }));
}
