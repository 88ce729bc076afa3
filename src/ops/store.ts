/** Keys and values of the pass's rows, written to their slots of the cache: what attention reads them from. */
import { storeKv } from "../kernels/heads.ts";
import type { View } from "../kernels/view.ts";
import { cacheBuffers } from "./bindings.ts";
import { defineOp } from "./op.ts";

export const STORE = defineOp<{ layer: number }>({
  name: "store",
  formula: "cache[slot] = k, v",
  shapes: (inputs) => inputs,
  hasEffect: true,
  reference: ({ inputs }) => inputs,
  vjp: ({ grads }) => grads,
  lower({ recorder, attributes: { layer }, inputs, rows, rowTable, bindings }) {
    const [k, v] = inputs as [View, View];
    storeKv(recorder, rowTable, rows.count, k, v, cacheBuffers(bindings, layer));
  },
});
