/**
 * One op with its gradients: inputs that are given, the op, and a weighted sum of its results, whose weights are the gradient
 * that the op gets. By the plain references in float64; `one-op-gpu.ts` computes the same by the dispatches.
 */
import { differentiate } from "../../src/graph/differentiate.ts";
import { evaluate } from "../../src/graph/evaluate.ts";
import { type Graph, GraphBuilder } from "../../src/graph/graph.ts";
import { prune } from "../../src/graph/prune.ts";
import { copy } from "../../src/kernels/elementwise.ts";
import { packedView, type View } from "../../src/kernels/view.ts";
import { CAPTURE } from "../../src/ops/capture.ts";
import type { EditCall } from "../../src/ops/edit-call.ts";
import { GRADIENT_OF } from "../../src/ops/gradient-of.ts";
import {
  defineOp,
  type Op,
  type OpKind,
  type RowSet,
  type Shape,
  type Value,
  type WeightRef,
} from "../../src/ops/op.ts";
import { RowTable } from "../../src/ops/rows.ts";
import { STORE } from "../../src/ops/store.ts";
import { gaussians, seeded } from "../support/numbers.ts";

/** An op to differentiate, and the pass it stands in. */
export interface OneOp {
  readonly what: string;
  readonly kind: OpKind<never>;
  readonly attributes: object;
  readonly inputs: readonly (Shape & { readonly rows?: RowSet })[];
  /** Shapes of the weights it names: [out, in] of matrices, [length] of vectors; parts of norms are `name.w` and `name.b`. */
  readonly weights?: Readonly<Record<string, readonly number[]>>;
  /** Those of them that have no gradient. */
  readonly constants?: readonly string[];
  /** Inputs that attention reads from the cache. */
  readonly cached?: { readonly k?: number; readonly v?: number };
  /** The set of rows of its result, where it is not the first input's. */
  readonly rows?: RowSet;
  readonly outputRows?: readonly number[];
  readonly slopes?: readonly number[];
  /** [position, pair, (cos, sin)]. */
  readonly ropeTable?: Float32Array;
  readonly edit?: EditCall;
  /** Values of the inputs before they are used: keeps them off kinks, masks what a query cannot see. */
  readonly prepare?: (input: number, value: number, place: Place) => number;
}

/** Where an element of an input is. */
export interface Place {
  readonly row: number;
  readonly position: number;
  readonly length: number;
  /** The last axis: of scores and pattern the key's position. */
  readonly at: number;
}

/** A value that is given. */
interface Given extends Shape {
  readonly numbers: Float64Array;
}

const INPUT = defineOp<Given>({
  name: "input",
  formula: "given numbers",
  shapes: (_, { heads, width }) => [{ heads, width }],
  reference: ({ attributes: { numbers } }) => [numbers],
  vjp: () => [],
  lower({ recorder, attributes: { numbers }, outputs, rows }) {
    const out = outputs[0] as View;
    copy(recorder, packedView(recorder.upload(Float32Array.from(numbers)), out.width, out.heads), out, rows.count);
  },
});

/** The sum of all results, each times its number; what a query cannot see is left out. */
const WEIGH = defineOp<{ readonly by: readonly Given[] }>({
  name: "weigh",
  formula: "sum of x * given",
  shapes: () => [{ heads: 1, width: 1 }],
  reference({ attributes: { by }, inputs, rows }) {
    const out = new Float64Array(rows.count);
    inputs.forEach((x, index) => {
      const { numbers } = by[index] as Given;
      x.forEach((value, i) => {
        if (Number.isFinite(value)) out[0] = (out[0] as number) + value * (numbers[i] as number);
      });
    });
    return [out];
  },
  vjp: ({ op: { attributes, inputs }, sink }) =>
    attributes.by.map((given, index) => sink.one(INPUT, [], given, undefined, (inputs[index] as Value).rows)),
  lower: () => undefined,
});

/** The numbers of one run: inputs, weights, and the gradients of the results. */
export interface Numbers {
  readonly inputs: readonly Float64Array[];
  readonly weights: ReadonlyMap<string, Float64Array>;
}

/** What a backward pass gives: the gradient of each input and of each weight. */
export type Gradients = Numbers;

/** Tables of the rows of sequences of these lengths, in slots that are not in order. */
export function rowsOfLengths(lengths: readonly number[]): RowTable {
  const count = lengths.reduce((sum, length) => sum + length, 0);
  const rows = new RowTable(count);
  let row = 0;
  lengths.forEach((length, sequence) => {
    for (let position = 0; position < length; position++, row++) {
      rows.set(row, sequence, position, count - 1 - row, (row * 5) % 4);
    }
  });
  return rows;
}

const keyOf = ({ name }: WeightRef, part?: "w" | "b") => (part ? `${name}.${part}` : name);
const product = (shape: readonly number[]) => shape.reduce((all, size) => all * size, 1);

export class OneOpRun {
  readonly rows: RowTable;
  readonly keyCount: number;
  readonly numbers: Numbers;
  readonly #graph: Graph;
  readonly #by: Given[];
  readonly #inputs: readonly Given[];

  constructor(
    readonly op: OneOp,
    readonly lengths: readonly number[],
    seed: number,
  ) {
    const random = seeded(seed);
    this.rows = rowsOfLengths(lengths);
    this.keyCount = Math.max(...lengths);
    this.#inputs = op.inputs.map((shape, input) => this.#given(shape, shape.rows ?? 0, random, input));
    const weights = new Map(
      Object.entries(op.weights ?? {}).map(([name, shape]) => [
        name,
        Float64Array.from(gaussians(random, product(shape), 0.7)),
      ]),
    );
    this.numbers = { inputs: this.#inputs.map(({ numbers }) => numbers), weights };
    const { graph, results } = this.#build();
    this.#by = results.map((value) => this.#given(value, value.rows, random));
    const builder = new GraphBuilder();
    const metric = builder.one(WEIGH, results, { by: this.#by });
    this.#graph = { ops: [...graph, ...builder.ops], output: metric };
  }

  /** The rows of a set. */
  rowsOf(set: RowSet): RowTable {
    return set === "output" || set === "picked" ? this.rows.select(this.op.outputRows as readonly number[]) : this.rows;
  }

  #given({ heads, width: own }: Shape, set: RowSet, random: () => number, input = -1): Given {
    const width = own === "keys" ? this.keyCount : own;
    const rows = this.rowsOf(set);
    const numbers = Float64Array.from(gaussians(random, rows.count * heads * width));
    numbers.forEach((value, i) => {
      const row = Math.floor(i / width / heads);
      const place = {
        row,
        position: rows.position(row),
        length: this.lengths[rows.sequence(row)] as number,
        at: i % width,
      };
      numbers[i] = this.op.prepare?.(input, value, place) ?? value;
    });
    return { heads, width: own, numbers };
  }

  #build(): { graph: readonly Op[]; results: readonly Value[] } {
    const builder = new GraphBuilder();
    const given = this.#inputs.map((input, index) => {
      const value = builder.one(INPUT, [], input, undefined, this.op.inputs[index]?.rows ?? 0);
      builder.add(GRADIENT_OF, [value], { index, headFirst: false });
      return value;
    });
    const values = [...given];
    const { cached } = this.op;
    if (cached) {
      const [k, v] = [cached.k ?? cached.v, cached.v ?? cached.k] as [number, number];
      const stored = builder.add(STORE, [given[k] as Value, given[v] as Value], { layer: 0 }, { isCached: true });
      if (cached.k !== undefined) values[cached.k] = stored[0] as Value;
      if (cached.v !== undefined) values[cached.v] = stored[1] as Value;
    }
    const results = builder.add(this.op.kind as OpKind<object>, values, this.op.attributes, {
      rows: this.op.rows ?? values[0]?.rows ?? 0,
    });
    return { graph: builder.ops, results };
  }

  readonly #evaluation = () => ({
    rows: this.rows,
    ...(this.op.outputRows && { outputRows: this.op.outputRows, picked: undefined as never }),
    weight: (ref: WeightRef | undefined, part?: "w" | "b") => ref && this.numbers.weights.get(keyOf(ref, part)),
    pass: {
      ropeTables: [this.op.ropeTable ?? new Float32Array()],
      slopes: this.op.slopes,
      embeds: undefined,
      edits: this.op.edit && [this.op.edit],
      seed: (logits: Float64Array) => logits.map(() => 1),
    },
  });

  /** The weighted sum, by the references. */
  metric(): number {
    const ops = this.#graph.ops.filter(({ kind }) => (kind as unknown) !== GRADIENT_OF);
    const values = evaluate({ ...this.#graph, ops }, this.#evaluation());
    return (values.get(this.#graph.output as Value) as Float64Array)[0] as number;
  }

  readonly #wantsWeight = (ref: WeightRef, part?: "w" | "b") =>
    [keyOf(ref, part), ...(part ? [] : [keyOf(ref, "w"), keyOf(ref, "b")])].some((key) =>
      this.numbers.weights.has(key),
    );

  /** The op, the weighted sum, and the way back; captures are of the inputs' gradients. */
  backward(): Graph {
    return prune(differentiate(this.#graph, this.#wantsWeight));
  }

  /** The gradients by the references of the backward pass. */
  byReferences(): Gradients {
    const graph = this.backward();
    const weights = new Map([...this.numbers.weights].map(([name, { length }]) => [name, new Float64Array(length)]));
    const values = evaluate(
      { ...graph, ops: graph.ops.filter(({ kind }) => (kind as unknown) !== CAPTURE) },
      {
        ...this.#evaluation(),
        addGradient(ref, numbers, part) {
          const sum = weights.get(keyOf(ref, part)) as Float64Array;
          if (sum.length !== numbers.length) throw new RangeError(`${keyOf(ref, part)}: ${numbers.length} gradients`);
          numbers.forEach((value, i) => {
            sum[i] = (sum[i] as number) + value;
          });
        },
      },
    );
    const inputs: Float64Array[] = this.numbers.inputs.map(({ length }) => new Float64Array(length));
    for (const { kind, attributes, inputs: read } of graph.ops) {
      if ((kind as unknown) !== CAPTURE) continue;
      inputs[(attributes as { index: number }).index] = values.get(read[0] as Value) as Float64Array;
    }
    return { inputs, weights };
  }

  /** The gradients by central differences of the op's own reference. */
  byDifferences(step = 1e-5): Gradients {
    const slopes = (numbers: Float64Array) =>
      numbers.map((value, i) => {
        if (!Number.isFinite(value)) return 0;
        numbers[i] = value + step;
        const above = this.metric();
        numbers[i] = value - step;
        const below = this.metric();
        numbers[i] = value;
        return (above - below) / (2 * step);
      });
    return {
      inputs: this.numbers.inputs.map(slopes),
      weights: new Map([...this.numbers.weights].map(([name, numbers]) => [name, slopes(numbers)])),
    };
  }
}
