/** What tests of gradients share: PyTorch's gradients of the fixtures, and backward passes by the plain references. */
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { differentiate } from "../../src/graph/differentiate.ts";
import { type Evaluation, evaluate } from "../../src/graph/evaluate.ts";
import { type Graph, pointsOf } from "../../src/graph/graph.ts";
import { insertHooks } from "../../src/graph/hooks.ts";
import type { ActivationCache } from "../../src/hooks/index.ts";
import { pointTable } from "../../src/hooks/points.ts";
import { trace } from "../../src/model/trace.ts";
import { CAPTURE } from "../../src/ops/capture.ts";
import type { Op } from "../../src/ops/op.ts";
import { layoutOf } from "../../src/ops/places.ts";
import type { RowTable } from "../../src/ops/rows.ts";
import { fixture, referencePass, rowsOf } from "../graph/support.ts";
import { tensorsOf, valuesOf } from "../support/fixtures.ts";
import { relativeError } from "../support/numbers.ts";

const ROOT = fileURLToPath(new URL("../fixtures/families/", import.meta.url));

/**
 * PyTorch's: `metric` = sum over the batch of logits[b, -1, 5] - logits[b, -1, 7], `d_hidden.<l>` its gradient at the residual
 * before block l, `d_pattern.<l>` at the pattern; `loss` = mean cross entropy of the next token, `d_weight.<name>` its gradient.
 */
export async function goldenGrads(family: string): Promise<Map<string, Float32Array>> {
  const tensors = tensorsOf(await readFile(`${ROOT}${family}/grads.safetensors`));
  return new Map(tensors.map((tensor) => [tensor.name, valuesOf(tensor)]));
}

/** The captured gradients of a backward pass, by the captures' index, [row, head, width]. */
export function evaluateGradients(graph: Graph, evaluation: Evaluation): Map<number, Float64Array> {
  const captures = graph.ops.filter((op) => op.kind.name === CAPTURE.name) as Op<{ index: number }>[];
  const values = evaluate({ ...graph, ops: graph.ops.filter((op) => op.kind.name !== CAPTURE.name) }, evaluation);
  return new Map(
    captures.map(({ attributes, inputs: [value] }) => [attributes.index, values.get(value as never) as Float64Array]),
  );
}

/** [row, head, key] as [batch, head, query, key]. */
export function headFirst(numbers: Float64Array, batch: number, heads: number, length: number): Float64Array {
  const out = new Float64Array(numbers.length);
  for (let at = 0; at < out.length; at += length) {
    const [rowHead] = [at / length];
    const [head, row] = [rowHead % heads, Math.floor(rowHead / heads)];
    const [sequence, query] = [Math.floor(row / length), row % length];
    out.set(numbers.subarray(at, at + length), ((sequence * heads + head) * length + query) * length);
  }
  if (numbers.length !== batch * heads * length * length) throw new RangeError("patterns of another shape");
  return out;
}

/** What is differentiated: the sum over the batch of factors · logits at a place of each sequence. */
export interface Weighted {
  readonly factors: ArrayLike<number>;
  readonly places: readonly number[];
}

/** Gradients by the references: at each point [row, head, width], with the rows of `rows`. */
export interface Expected {
  readonly rows: RowTable;
  readonly values: ReadonlyMap<string, Float64Array>;
}

/** The metric's gradient of the logits. */
export function weightedSeed({ factors, places }: Weighted) {
  return (logits: Float64Array, rows: RowTable) => {
    const out = new Float64Array(logits.length);
    for (const [sequence, place] of places.entries()) out.set(factors, rows.indexOf(sequence, place) * factors.length);
    return out;
  };
}

/** The gradients at all points of a family, by the plain references. */
export async function expectedGradients(
  family: string,
  ids: readonly (readonly number[])[],
  weighted: Weighted,
  changes: Record<string, unknown> = {},
): Promise<Expected> {
  const { spec, weight } = await fixture(family, changes);
  const rows = rowsOf(ids);
  const pass = { ...referencePass(spec, 64), seed: weightedSeed(weighted) };
  const gradientsAt = (whole: Graph, isWanted: (name: string) => boolean): [string, Float64Array][] => {
    const names = [...pointsOf(whole).keys()].filter(isWanted);
    const captures = names.map((name) => ({ name, ofGradient: true }));
    const graph = differentiate(insertHooks(whole, { edits: [], callbacks: [], captures }));
    const grads = evaluateGradients(graph, { rows, weight, pass });
    return [...grads].map(([index, numbers]) => [names[index] as string, numbers]);
  };
  // Inputs of readers where each has its own, and all else where all read one residual.
  const isCopy = (name: string) => pointTable(spec).get(name)?.kind.isCopy ?? false;
  const ofCopies = gradientsAt(trace(spec, { changed: { has: () => true } }), isCopy);
  const others = gradientsAt(trace(spec), (name) => !isCopy(name));
  return { rows, values: new Map([...ofCopies, ...others]) };
}

/** How far each entry of a cache of gradients is from what it should be. Where a sequence has ended there are zeros. */
export async function errorsAt(cache: ActivationCache, { rows, values }: Expected): Promise<Map<string, number>> {
  const errors = new Map<string, number>();
  for (const name of cache.names) {
    const is = await cache.read(name);
    const layout = layoutOf(cache.shape(name), /scores|pattern/.test(name));
    const { heads, width, rowStride, headStride } = layout;
    const should = new Float64Array(is.length);
    for (const [sequence, positions] of cache.positions.entries()) {
      for (const [index, position] of positions.entries()) {
        const from = rows.indexOf(sequence, position) * heads * width;
        for (let head = 0; head < heads; head++) {
          const own = values.get(name)?.subarray(from + head * width, from + (head + 1) * width) ?? [];
          should.set(own, layout.rowIndex(sequence, index) * rowStride + head * headStride);
        }
      }
    }
    errors.set(name, relativeError(is, should));
  }
  return errors;
}
