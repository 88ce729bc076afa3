/** What tests of gradients share: PyTorch's gradients of the fixtures, and backward passes by the plain references. */
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { type Evaluation, evaluate } from "../../src/graph/evaluate.ts";
import type { Graph } from "../../src/graph/graph.ts";
import { CAPTURE } from "../../src/ops/capture.ts";
import type { Op } from "../../src/ops/op.ts";
import { tensorsOf, valuesOf } from "../support/fixtures.ts";

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
