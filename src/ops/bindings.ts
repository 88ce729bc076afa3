/**
 * What a graph leaves open: the tables, buffers and hooks of one pass.
 *
 * The same graph serves every pass of its form; a pass supplies its rows, the cache that it reads and fills, and what is
 * to happen at the points that people look at.
 */
import type { BufferSlice, Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import type { Matrix } from "../kernels/matrix.ts";
import type { View } from "../kernels/view.ts";
import type { NumberList } from "../schema/schema.ts";
import type { EditCall } from "./edit-call.ts";
import type { RowTable } from "./rows.ts";
import type { WeightRef } from "./weight-ref.ts";

export interface Bindings {
  /** Ordered so that the rows present at a layer are a prefix: rows that join later come later. */
  readonly rows: RowTable;
  /** The same on the GPU, [rows] vec4. */
  readonly rowTable: Tensor;
  /** Rows present from each layer on, when not all enter at layer 0. */
  readonly activeRows?: readonly number[] | undefined;
  /** Where rows that join at a layer take their residual from. */
  readonly joining?: Joining | undefined;
  /** Rows that the last block computes to its end and unembeds, where the graph narrows to them. */
  readonly outputRows?: readonly number[] | undefined;
  /** Rows that are unembedded, where the graph does not narrow and picks some. */
  readonly picked?: readonly number[] | undefined;
  /** Keys and values of each layer, [slot, nKvHeads, width]. The store may move to larger buffers before the pass is encoded. */
  readonly store: { readonly keys: readonly GPUBuffer[]; readonly values: readonly GPUBuffer[] };
  /** [sequence, slotStride]: the slot of each position, as far as it is needed. */
  readonly slotTable: Tensor;
  readonly slotStride: number;
  /** Longest sequence once the pass is done; the width of score and pattern rows. */
  readonly keyCount: number;
  /** RoPE tables by index of `spec.ropes`, [position, rotaryDim / 2, 2]. */
  readonly ropeTables: readonly Tensor[];
  /** ALiBi slopes [nHeads], when the model has them. */
  readonly alibi: Tensor | undefined;
  /** Sinusoidal positions [position, dModel], when the model has them. */
  readonly sinusoids?: Tensor | undefined;
  /** Token ids [rows] on the GPU, in place of those in the row table. */
  readonly tokens?: Tensor | undefined;
  /** In place of token embeddings: rows `firstRow`.. of [.., dModel]. */
  readonly embeds?: { readonly tensor: Tensor; readonly firstRow: number } | undefined;
  /** Where the logits go: rows `firstRow`.. of [.., tokens]. */
  readonly logits?: { readonly tensor: Tensor; readonly firstRow: number } | undefined;
  readonly hooks?: PassHooks | undefined;
  /** Of passes with a backward pass: records the gradient that it begins with, for logits [row, vocab] or another point. */
  readonly seed?: ((recorder: Recorder, x: View, rows: RowTable, out: View) => void) | undefined;
  /** Where gradients of weights go. */
  readonly gradients?: WeightGradients | undefined;
}

/** Gradients of weights in float32, each in the layout of its weight. */
export interface WeightGradients {
  matrix(ref: WeightRef): Matrix;
  vector(ref: WeightRef, part?: "w" | "b"): BufferSlice;
}

/** Those of a pass that is differentiated. */
export function gradientsOf({ gradients }: Bindings): WeightGradients {
  return gradients as WeightGradients;
}

/** Rows that join a pass at a later layer than the first, with the residual that another run had there. */
export interface Joining {
  /** For each row of the pass the layer where it joins. */
  readonly layers: readonly number[];
  /** And the row of `residual` that it takes. */
  readonly sources: readonly number[];
  /** The residual [rows, dModel] before a layer, of the run that they continue. */
  residual(layer: number): Tensor;
}

/** Where the captured rows of a point go. */
export interface CaptureTarget {
  readonly name: string;
  /** The gradient of the point rather than its activation. */
  readonly ofGradient?: boolean | undefined;
  /** [batch, pos, …], or [batch, head, query, key] for scores and pattern. */
  readonly tensor: Tensor;
}

/**
 * A JavaScript hook: gets the activation, shaped as a capture of it would be. It may change the array in place, or return
 * other numbers, as many; what it returns counts, or else what the array then holds.
 */
export type HookFunction = (
  activation: Float32Array,
  info: { name: string; shape: readonly number[] },
  // biome-ignore lint/suspicious/noConfusingVoidType: a function that returns nothing.
) => Promise<HookResult | void> | HookResult | void;

/** What a JavaScript hook returns: as many numbers as it got, or nothing if it changed its array in place. */
export type HookResult = NumberList | undefined;

export interface Callback {
  readonly name: string;
  readonly shape: readonly number[];
  readonly run: HookFunction;
}

/** What is to happen at the points of a pass; ops name entries by their index. */
export interface PassHooks {
  readonly edits: readonly EditCall[];
  readonly captures: readonly CaptureTarget[];
  readonly callbacks: readonly Callback[];
  /** For each sequence the captured positions, ascending. */
  readonly positions: readonly (readonly number[])[];
  /** For each sequence every position of the pass, for callbacks. */
  readonly allPositions: readonly (readonly number[])[];
  /** The point where a backward pass begins; at the logits when absent. */
  readonly seedAt?: string | undefined;
}

/** Buffers that are looked up when the pass is encoded: another pass over a fork of the cache may grow the store meanwhile. */
export function cacheBuffers({ store }: Pick<Bindings, "store">, layer: number) {
  return {
    keys: {
      get buffer() {
        return store.keys[layer] as GPUBuffer;
      },
    },
    values: {
      get buffer() {
        return store.values[layer] as GPUBuffer;
      },
    },
  };
}
