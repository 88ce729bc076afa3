/**
 * Lowering: the dispatches of a plan for one pass. The only place where values meet buffers.
 */
import type { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import type { View } from "../kernels/view.ts";
import type { Bindings } from "../ops/bindings.ts";
import type { RowSet, Value, WeightLookup } from "../ops/op.ts";
import type { RowTable } from "../ops/rows.ts";
import type { Place, Plan, Slot } from "./place.ts";

/** Records a pass: every op of the plan that has rows in it. */
export function lower(recorder: Recorder, plan: Plan, weights: WeightLookup, bindings: Bindings): void {
  new Pass(recorder, plan, bindings).record(weights);
}

/** The rows of a set, on the host and on the GPU. */
interface Rows {
  readonly rows: RowTable;
  readonly rowTable: Tensor;
}

class Pass {
  readonly #rows = new Map<RowSet, Rows>();
  readonly #buffers: (Tensor | undefined)[] = [];

  constructor(
    private readonly recorder: Recorder,
    private readonly plan: Plan,
    private readonly bindings: Bindings,
  ) {}

  record(weights: WeightLookup): void {
    const { recorder, bindings } = this;
    for (const { op, inputs, outputs, rows: set, frees } of this.plan.ops) {
      const { rows, rowTable } = this.#rowsOf(set);
      if (rows.count > 0) {
        op.kind.lower({
          recorder,
          attributes: op.attributes,
          inputs: inputs.map((at) => this.#view(at)),
          outputs: outputs.map((at) => this.#view(at)),
          rows,
          rowTable,
          inputRows: (index) => this.#rowsOf((op.inputs[index] as Value).rows),
          weights,
          bindings,
        });
      }
      for (const slot of frees) this.#free(slot);
    }
  }

  #view({ slot, heads, width: own, start, rowStride }: Place): View {
    const { outside } = this.plan.slots[slot] as Slot;
    if (outside === "cache") return NOWHERE;
    if (outside === "logits") {
      const { tensor, firstRow } = this.bindings.logits as NonNullable<Bindings["logits"]>;
      const width = tensor.shape.at(-1) as number;
      return { buffer: tensor, start: firstRow * width, rowStride: width, heads: 1, headStride: width, width };
    }
    const width = own === "keys" ? this.bindings.keyCount : own;
    const buffer = this.#bufferOf(slot);
    return {
      buffer,
      start,
      rowStride: rowStride === "keys" ? heads * width : rowStride,
      heads,
      headStride: width,
      width,
    };
  }

  #bufferOf(slot: number): Tensor {
    const known = this.#buffers[slot];
    if (known) return known;
    let size = 0;
    for (const [set, { heads, width }] of (this.plan.slots[slot] as Slot).holds) {
      size = Math.max(size, this.#rowsOf(set).rows.count * heads * (width === "keys" ? this.bindings.keyCount : width));
    }
    const buffer = this.recorder.temp(size);
    this.#buffers[slot] = buffer;
    return buffer;
  }

  #free(slot: number): void {
    const buffer = this.#buffers[slot];
    if (buffer) this.recorder.release(buffer);
  }

  #rowsOf(set: RowSet): Rows {
    const known = this.#rows.get(set);
    if (known) return known;
    const made = this.#makeRows(set);
    this.#rows.set(set, made);
    return made;
  }

  #makeRows(set: RowSet): Rows {
    const { rows, rowTable, activeRows, outputRows, picked } = this.bindings;
    if (typeof set === "number") {
      const count = activeRows?.[set] ?? rows.count;
      if (count === rows.count) return { rows, rowTable };
      // Layers with as many rows share a table, and so what is kept for it.
      const same = [...this.#rows.values()].find((each) => each.rowTable === rowTable && each.rows.count === count);
      return same ?? { rows: rows.slice(0, count), rowTable };
    }
    const last = activeRows ? activeRows.length - 1 : 0;
    const chosen = this.#rowsOf(last).rows.select((set === "picked" ? picked : outputRows) as readonly number[]);
    return { rows: chosen, rowTable: chosen.count > 0 ? this.recorder.upload(chosen.data) : rowTable };
  }
}

/** Keys and values in the cache: who reads them asks the bindings for the layer's buffers. */
const NOWHERE = {
  start: 0,
  rowStride: 0,
  heads: 0,
  headStride: 0,
  width: 0,
  buffer: undefined as never,
} satisfies View;
