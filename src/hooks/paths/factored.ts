/**
 * A head's circuits as factored matrices: OV = W_V W_O and QK = W_Q W_K^T are [dModel, dModel] but of rank dHead, so they are
 * kept as two thin factors, A [dModel, dHead] and B [dHead, dModel], in float64. TransformerLens's `FactoredMatrix`.
 */

import { abortable } from "../../abort.ts";
import { HookError } from "../../errors.ts";
import { ABORT_FIELDS, type AbortOptions } from "../../model/long-call.ts";
import { nKvHeadsOf } from "../../model/weights/table.ts";
import * as s from "../../schema/schema.ts";
import { readCall } from "../call.ts";
import type { HookedModel } from "../hooked-model.ts";
import { pickHeads, resolveSite } from "../patching/sites.ts";
import type { Columns } from "./low-rank-svd.ts";

/** `"OV"`: W_V W_O, what a head moves. `"QK"`: W_Q W_K^T, where it looks. */
export type CircuitKind = "OV" | "QK";

/** The product of A [m, rank] and B [rank, n], never multiplied out unless asked. */
export class FactoredMatrix {
  constructor(
    /** The columns of A, each of length m. */
    readonly columns: Columns,
    /** The rows of B, each of length n. */
    readonly rows: Columns,
  ) {}

  /** [m, n] of the product. */
  get shape(): [number, number] {
    return [this.columns[0]?.length ?? 0, this.rows[0]?.length ?? 0];
  }

  /** The transpose, B^T A^T. */
  get T(): FactoredMatrix {
    return new FactoredMatrix(this.rows, this.columns);
  }

  /** The product [m, n], row-major. */
  get AB(): Float64Array {
    const [m, n] = this.shape;
    const product = new Float64Array(m * n);
    for (const [r, column] of this.columns.entries()) {
      const row = this.rows[r] as Float64Array;
      for (let i = 0; i < m; i++)
        for (let j = 0; j < n; j++) (product[i * n + j] as number) += (column[i] as number) * (row[j] as number);
    }
    return product;
  }
}

/** Options of `headCircuit`. */
export interface HeadCircuitOptions extends AbortOptions {
  /** The block. */
  layer: number;
  /** The head; its keys and values are those of its group. */
  head: number;
  /** `"OV"`: W_V W_O, what it moves. `"QK"`: W_Q W_K^T, where it looks. */
  circuit: CircuitKind;
}

export const HEAD_CIRCUIT_FIELDS = {
  layer: s.required(s.whole),
  head: s.required(s.whole),
  circuit: s.required(s.oneOf<CircuitKind>("OV", "QK")),
  ...ABORT_FIELDS,
} as const;

export const HEAD_CIRCUIT_OPTIONS = s.object<HeadCircuitOptions>("the options of headCircuit", HEAD_CIRCUIT_FIELDS);

/**
 * A head's OV or QK circuit, of the checkpoint's weights as `model.weight` gives them: without norms, biases, RoPE, q/k norms
 * and the scale of scores.
 * @throws HookError `hook/layer-range`, `hook/head-range`
 */
export async function headCircuit(model: HookedModel, given: HeadCircuitOptions): Promise<FactoredMatrix> {
  const { layer, head, circuit, signal } = readCall("headCircuit", model, HEAD_CIRCUIT_OPTIONS, given);
  model.assertOpen();
  pickHeads(resolveSite(model.spec, "z", [layer]), [head]);
  return (await abortable(layerCircuits(model, layer, circuit, [head]), signal))[0] as FactoredMatrix;
}

/** The circuits of heads of a layer, by default of all. */
export async function layerCircuits(
  model: HookedModel,
  layer: number,
  circuit: CircuitKind,
  heads: readonly number[] = Array.from({ length: model.spec.nHeads }, (_, head) => head),
): Promise<FactoredMatrix[]> {
  const { nHeads, attention, family } = model.spec;
  if (attention.latent)
    throw new HookError(
      "hook/unsupported",
      `Keys and values of this ${family} model come from a latent vector through a norm, so that a head has no one matrix from residual to residual. Read the matrices before and after the norm: model.weight("blocks.${layer}.attn.W_DKV") and W_UK, W_UV.`,
    );
  const nKvHeads = nKvHeadsOf(model.spec, layer);
  const [first, second] = circuit === "OV" ? ["W_V", "W_O"] : ["W_Q", "W_K"];
  const [a, b] = [
    await headMatrices(model, layer, first as string),
    await headMatrices(model, layer, second as string),
  ];
  const group = (head: number) => Math.floor(head / (nHeads / nKvHeads));
  return heads.map((head) =>
    circuit === "OV"
      ? new FactoredMatrix(a.columns(group(head)), b.rows(head))
      : new FactoredMatrix(a.columns(head), b.columns(group(head))),
  );
}

/** A weight [head, rows, columns], head by head. */
async function headMatrices(model: HookedModel, layer: number, name: string) {
  const { shape, data } = await model.weight(`blocks.${layer}.attn.${name}`);
  const [, rows = 0, columns = 0] = shape;
  const part = (head: number) => data.subarray(head * rows * columns, (head + 1) * rows * columns);
  const lines = (head: number, count: number, length: number, at: (line: number, place: number) => number): Columns => {
    const values = part(head);
    return Array.from({ length: count }, (_, line) =>
      Float64Array.from({ length }, (_, place) => values[at(line, place)] as number),
    );
  };
  return {
    columns: (head: number) => lines(head, columns, rows, (column, row) => row * columns + column),
    rows: (head: number) => lines(head, rows, columns, (row, column) => row * columns + column),
  };
}
