/**
 * How much a later head reads of what an earlier one writes (Elhage et al. 2021, "A Mathematical Framework for Transformer
 * Circuits"): the Frobenius norm of the earlier head's OV times what the later one does with it, over the product of both norms.
 *
 *   Q-composition  |OV QK| / (|OV| |QK|)     K-composition  |OV QK^T| / (|OV| |QK|)     V-composition  |OV OV'| / (|OV| |OV'|)
 *
 * Matrices act on rows from the left, x OV, as TransformerLens has them. With OV = A B and the other C D, all thin,
 * |A B C D|^2 = trace(A^T A (B C) D D^T (B C)^T), of matrices [dHead, dHead], so that nothing [dModel, dModel] is made.
 */
import { HookError } from "../../errors.ts";
import { LONG_CALL_FIELDS, type LongCallOptions, reportProgress } from "../../model/long-call.ts";
import * as s from "../../schema/schema.ts";
import { readCall } from "../call.ts";
import type { HookedModel } from "../hooked-model.ts";
import { type FactoredMatrix, layerCircuits } from "./factored.ts";
import type { Columns } from "./low-rank-svd.ts";

/** Options of `allCompositionScores`. */
export interface CompositionOptions extends LongCallOptions {
  /** What of the later head reads: its queries (`"Q"`), keys (`"K"`) or values (`"V"`). */
  mode: "Q" | "K" | "V";
}

export const COMPOSITION_OPTIONS = s.object<CompositionOptions>("the options of allCompositionScores", {
  mode: s.required(s.oneOf<"Q" | "K" | "V">("Q", "K", "V")),
  ...LONG_CALL_FIELDS,
});

/** A score for each pair of heads; 0 unless the reader's layer comes after the writer's. */
export class CompositionScores {
  constructor(
    /** First the writer, then the reader: [layer, head, layer, head]. */
    readonly shape: readonly [number, number, number, number],
    /** Row-major. */
    readonly data: Float64Array,
  ) {}

  /** The score of a pair of heads. @throws HookError `hook/not-in-grid` */
  at(layer: number, head: number, readerLayer: number, readerHead: number): number {
    const place = [layer, head, readerLayer, readerHead];
    if (place.some((index, axis) => !s.isWhole(index, 0, (this.shape[axis] as number) - 1)))
      throw new HookError(
        "hook/not-in-grid",
        `There is no score at [${place.map(String).join(", ")}]; the shape is [${this.shape.join(", ")}].`,
      );
    const index = place.reduce((sum, at, axis) => sum * (this.shape[axis] as number) + at, 0);
    return this.data[index] as number;
  }
}

/** A circuit with what its norms need: A^T A and B B^T. */
interface Reduced {
  readonly columns: Columns;
  readonly rows: Columns;
  readonly aa: Square;
  readonly bb: Square;
  readonly norm: number;
}

type Square = readonly Float64Array[];

/**
 * Composition scores of all pairs of heads, TransformerLens's `all_composition_scores`, of the checkpoint's weights: nothing is
 * folded, so scores differ from those of a `HookedTransformer` with folded norms. In float64 on the CPU.
 */
export async function allCompositionScores(model: HookedModel, given: CompositionOptions): Promise<CompositionScores> {
  const { mode, ...following } = readCall("allCompositionScores", model, COMPOSITION_OPTIONS, given);
  model.assertOpen();
  const { nLayers, nHeads } = model.spec;
  const shape = [nLayers, nHeads, nLayers, nHeads] as const;
  const data = new Float64Array((nLayers * nHeads) ** 2);
  const total = (nLayers * (nLayers - 1)) / 2;
  let done = 0;
  const writers: Reduced[][] = [];
  for (let reader = 0; reader < nLayers; reader++) {
    const readers = await readersOf(model, reader, mode);
    for (const [writer, heads] of writers.entries()) {
      for (const [h, left] of heads.entries())
        for (const [k, right] of readers.entries())
          data[((writer * nHeads + h) * nLayers + reader) * nHeads + k] = compositionScore(left, right);
      done += 1;
      await new Promise((resolve) => setTimeout(resolve, 0)); // lets a signal come in between
      await reportProgress(following, done, total);
    }
    writers.push((await layerCircuits(model, reader, "OV")).map(reduced));
  }
  following.signal?.throwIfAborted();
  return new CompositionScores(shape, data);
}

async function readersOf(model: HookedModel, layer: number, mode: "Q" | "K" | "V"): Promise<Reduced[]> {
  const circuits = await layerCircuits(model, layer, mode === "V" ? "OV" : "QK");
  return circuits.map((circuit) => reduced(mode === "K" ? circuit.T : circuit));
}

function reduced({ columns, rows }: FactoredMatrix): Reduced {
  const [aa, bb] = [products(columns, columns), products(rows, rows)];
  return { columns, rows, aa, bb, norm: Math.sqrt(sumOfProducts(aa, bb)) };
}

/** |left right| / (|left| |right|); 0 where one of them is zero. */
function compositionScore(left: Reduced, right: Reduced): number {
  const middle = products(left.rows, right.columns);
  const inner = multiply(multiply(transposed(middle), left.aa), middle);
  const square = sumOfProducts(inner, right.bb);
  const norms = left.norm * right.norm;
  return norms === 0 ? 0 : Math.sqrt(Math.max(0, square)) / norms;
}

/** a_i · b_j for all i and j. */
function products(a: Columns, b: Columns): Square {
  return a.map((x) => Float64Array.from(b, (y) => x.reduce((sum, value, i) => sum + value * (y[i] as number), 0)));
}

const multiply = (a: Square, b: Square): Square => products(a, transposed(b));

const transposed = (a: Square): Square =>
  Array.from(a[0] ?? [], (_, column) => Float64Array.from(a, (row) => row[column] as number));

/** The sum of a_ij b_ij, which is trace(a b^T). */
function sumOfProducts(a: Square, b: Square): number {
  return a.reduce((sum, row, i) => row.reduce((s, x, j) => s + x * (b[i]?.[j] as number), sum), 0);
}
