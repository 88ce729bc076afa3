/**
 * Operations as values: what a forward pass is made of.
 *
 * A graph is a list of ops in the order in which they run. An op has a kind, inputs, outputs and attributes; a value is what
 * an op makes. Nothing in a graph knows of buffers or of how many rows there are: the same graph serves every pass of the
 * same form. A kind is one file of this folder and one line of `index.ts`, and says all there is to know of it: its
 * formula, the shapes of its outputs, a plain TypeScript reference, which rows it reads, and how it becomes dispatches.
 */
import type { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import type { Matrix, NormWeights } from "../kernels/matrix.ts";
import type { View } from "../kernels/view.ts";
import type { Bindings } from "./bindings.ts";
import type { ReferenceEdit } from "./edit-reference.ts";
import type { RowTable } from "./rows.ts";
import type { WeightChoice, WeightRef } from "./weight-ref.ts";

export type { WeightRef };

/**
 * Which rows of the pass a value has: those present at a layer (a number), those of the last block that give logits
 * (`output`), or those that are unembedded where all run to the end (`picked`).
 */
export type RowSet = number | "output" | "picked";

/** The vectors of a row: `heads` of `width`. Scores and pattern have one entry a key, as many as the pass has. */
export interface Shape {
  readonly heads: number;
  readonly width: number | "keys";
}

/** What an op makes: [row, head, width] in float32. */
export interface Value extends Shape {
  readonly rows: RowSet;
  /** The block that a row has to run again to get it: the first for the embedding, the last for what follows the blocks. */
  readonly layer: number;
  /** The names under which people look at it, in order: the residual after a block is that before the next as well. */
  readonly points: readonly string[];
  /** Points whose edits are made here, too, at every head: the norm of a copy of the residual follows that of the residual. */
  readonly follows?: readonly string[] | undefined;
  /** It lies in the key-value cache. */
  readonly isCached?: boolean | undefined;
}

export interface Op<A = unknown> {
  readonly kind: OpKind<A>;
  readonly inputs: readonly Value[];
  readonly outputs: readonly Value[];
  readonly attributes: A;
}

/** The weights of a model, as ops ask for them. */
export interface WeightLookup {
  /** @throws Error when the model has no such matrix. */
  matrix(ref: WeightRef): Matrix;
  vector(ref: WeightRef | undefined): Tensor | undefined;
  norm(ref: WeightRef): NormWeights;
}

/** What an op needs to be recorded. */
export interface Lowering<A> {
  readonly recorder: Recorder;
  readonly attributes: A;
  readonly inputs: readonly View[];
  readonly outputs: readonly View[];
  /** Of the op's outputs, or of its input when it has none. */
  readonly rows: RowTable;
  /** The same on the GPU, [rows] vec4. */
  readonly rowTable: Tensor;
  /** The rows of an input, where they are others than the outputs'. */
  inputRows(index: number): { readonly rows: RowTable; readonly rowTable: Tensor };
  readonly weights: WeightLookup;
  readonly bindings: Bindings;
}

/** What the plain reference of an op is given: rows as [row, head, width], one array an input. */
export interface ReferenceCall<A> {
  readonly attributes: A;
  readonly inputs: readonly Float64Array[];
  readonly inputShapes: readonly { heads: number; width: number }[];
  readonly inputRows: readonly RowTable[];
  readonly outputShapes: readonly { heads: number; width: number }[];
  readonly rows: RowTable;
  /** A matrix as [out, in] or a vector; undefined when the model lacks it. `part` picks `w` or `b` of a norm. */
  weight(ref: WeightRef | undefined, part?: "w" | "b"): Float64Array | undefined;
  readonly pass: ReferencePass;
  /** Adds to the gradient of a weight, flat in the order of `weight`. */
  addGradient(ref: WeightRef, values: Float64Array, part?: "w" | "b"): void;
}

/** Where a new op's outputs belong; rows are the first input's unless told. */
export interface OpPlace {
  readonly rows?: RowSet | undefined;
  readonly points?: readonly (readonly string[])[] | undefined;
  readonly follows?: readonly string[] | undefined;
  readonly isCached?: boolean | undefined;
}

/** Adds ops to a graph, as `GraphBuilder` does. */
export interface OpSink {
  add<A>(kind: OpKind<A>, inputs: readonly Value[], attributes: A, place?: OpPlace): readonly Value[];
  /** The same for kinds with one output. */
  one<A>(kind: OpKind<A>, inputs: readonly Value[], attributes: A, point?: string, rows?: RowSet): Value;
}

/** What a vector-Jacobian product is made of. */
export interface VjpCall<A> {
  readonly op: Op<A>;
  /** The gradient of each output, of its shape; undefined where nothing depends on it. One at least is there. */
  readonly grads: readonly (Value | undefined)[];
  /** Takes the ops of the backward pass. */
  readonly sink: OpSink;
  /** Whether the gradient of that input is wanted; of others anything may be returned. */
  wants(input: number): boolean;
  /** Whether the gradient of a weight is wanted; false for those that the model does not have. */
  readonly wantsWeight: WeightChoice;
}

/** What references read of the pass itself. */
export interface ReferencePass {
  /** [position, rotaryDim / 2, (cos, sin)] by index of the spec's ropes. */
  readonly ropeTables: readonly Float32Array[];
  readonly slopes: readonly number[] | undefined;
  /** [rows, dModel] in place of token embeddings. */
  readonly embeds: Float64Array | undefined;
  /** By the index that ops name. */
  readonly edits?: readonly ReferenceEdit[] | undefined;
  /** Gives the metric's gradient of logits [row, vocab]. */
  readonly seed?: ((logits: Float64Array, rows: RowTable) => Float64Array) | undefined;
}

export interface OpKind<A = unknown> {
  readonly name: string;
  /** In a line, for people. */
  readonly formula: string;
  shapes(inputs: readonly Value[], attributes: A): readonly Shape[];
  /** Inputs that are read at other rows of the sequence, too: earlier ones, or all of them without causality. */
  readonly acrossRows?: readonly number[];
  /** For each output the input whose memory it takes over. The op computes in place, or in a copy where that is still needed. */
  inPlace?(attributes: A): readonly (number | undefined)[];
  /** Its outputs may lie anywhere in the rows of a buffer, those of one op side by side; other kinds want them packed. */
  readonly writesViews?: boolean;
  /** Runs although nobody reads an output: it stores, captures or calls. */
  readonly hasEffect?: boolean;
  /** What it computes, in plain TypeScript: the oracle of the tests. Kinds that only watch or call have none. */
  reference?(call: ReferenceCall<A>): readonly Float64Array[];
  /**
   * The vector-Jacobian product, as ops: the gradient of each input, given those of the outputs; undefined where it is zero.
   * Kinds without one are in no graph that is differentiated.
   */
  vjp?(call: VjpCall<A>): readonly (Value | undefined)[];
  /** Records the dispatches. */
  lower(call: Lowering<A>): void;
}

/** The shape rule of ops whose output is as their first input. */
export function sameShape([x]: readonly Value[]): readonly Shape[] {
  return [x as Value];
}

/** A kind of op; the attributes' type is checked where ops are made. */
export function defineOp<A>(kind: OpKind<A>): OpKind<A> {
  return kind;
}

/** An op of a kind on inputs, with outputs of the shapes that the kind gives; rows and layer are the first input's unless told. */
export function makeOp<A>(
  kind: OpKind<A>,
  inputs: readonly Value[],
  attributes: A,
  place: OpPlace & { layer?: number } = {},
): Op<A> {
  const outputs = kind.shapes(inputs, attributes).map(({ heads, width }, index) => ({
    heads,
    width,
    rows: place.rows ?? (inputs[0]?.rows as RowSet),
    layer: place.layer ?? (inputs[0]?.layer as number),
    points: place.points?.[index] ?? [],
    follows: place.follows,
    isCached: place.isCached,
  }));
  return { kind, inputs, outputs, attributes };
}
