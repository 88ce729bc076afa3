/** A gated MLP's activation and product in one step, where both factors are needed again, and its gradient. Made by fusion. */
import type { Activation } from "../kernels/calls.ts";
import { gated, gatedGradient } from "../kernels/elementwise.ts";
import type { View } from "../kernels/view.ts";
import { ACTIVATION_SLOPES, ACTIVATIONS } from "./activations.ts";
import { defineOp, sameShape } from "./op.ts";

/** Inputs gate and x. */
export const GATED = defineOp<{ activation: Activation }>({
  name: "gated",
  formula: "act(gate) * x",
  shapes: sameShape,
  reference: ({ attributes: { activation }, inputs: [gate, x] }) => [
    (gate as Float64Array).map((value, i) => ACTIVATIONS[activation](value) * (x?.[i] as number)),
  ],
  vjp: ({ op: { inputs, attributes }, grads, sink }) =>
    sink.add(GATED_GRADIENT, [...inputs, ...grads] as never, attributes),
  lower({ recorder, attributes: { activation }, inputs, outputs, rows }) {
    const [gate, x] = inputs as [View, View];
    gated(recorder, activation, gate, x, outputs[0] as View, rows.count);
  },
});

/** Inputs gate, x and dy; the gradients of gate and of x, in their place. */
export const GATED_GRADIENT = defineOp<{ activation: Activation }>({
  name: "gatedGradient",
  formula: "dy * x * act'(gate), dy * act(gate)",
  shapes: ([gate, x]) => [gate, x] as never,
  inPlace: () => [0, 1],
  reference: ({ attributes: { activation }, inputs }) => {
    const [gate, x, dy] = inputs as readonly Float64Array[] as [Float64Array, Float64Array, Float64Array];
    return [
      gate.map((value, i) => (dy[i] as number) * (x[i] as number) * ACTIVATION_SLOPES[activation](value)),
      gate.map((value, i) => (dy[i] as number) * ACTIVATIONS[activation](value)),
    ];
  },
  lower({ recorder, attributes: { activation }, inputs, outputs, rows }) {
    const [gate, x] = outputs as [View, View];
    gatedGradient(recorder, activation, gate, x, inputs[2] as View, rows.count);
  },
});
