/** Which experts each row goes through, and with which weights. */
import { type RoutingSpec, route, routeGradient } from "../kernels/routing.ts";
import type { View } from "../kernels/view.ts";
import { defineOp, type ReferenceCall, type Value, type WeightRef } from "./op.ts";
import { routed, routedGradient } from "./route-reference.ts";

export interface RouteAttributes {
  readonly routing: RoutingSpec;
  /** Experts a row. */
  readonly chosen: number;
  /** Added to scores where experts are chosen. */
  readonly bias?: WeightRef | undefined;
}

/** Row `row` of an input. */
function rowOf({ inputs, inputShapes }: ReferenceCall<unknown>, input: number, row: number): number[] {
  const { heads, width } = inputShapes[input] as { heads: number; width: number };
  const size = heads * width;
  return [...(inputs[input] as Float64Array).subarray(row * size, (row + 1) * size)];
}

const allRows = ({ rows }: ReferenceCall<unknown>) => Array.from({ length: rows.count }, (_, row) => row);

/** Input: the router's logits. Outputs: the experts' numbers and their weights, [row, slot]. */
export const ROUTE = defineOp<RouteAttributes>({
  name: "route",
  formula: "the greatest scores of logits: their experts, their weights",
  shapes: (_, { chosen }) => [
    { heads: 1, width: chosen },
    { heads: 1, width: chosen },
  ],
  reference(call) {
    const { routing, chosen, bias } = call.attributes;
    const each = allRows(call).map((row) => routed(routing, rowOf(call, 0, row), chosen, call.weight(bias)));
    return [
      Float64Array.from(each.flatMap(({ indices }) => indices)),
      Float64Array.from(each.flatMap(({ weights }) => weights)),
    ];
  },
  // The choice is constant: what the numbers of experts lead to has no gradient.
  vjp({ op: { attributes, inputs, outputs }, grads, sink }) {
    const [logits] = inputs as [Value];
    const dWeights = grads[1];
    if (!dWeights) return [undefined];
    const { routing } = attributes;
    return [sink.one(ROUTE_GRADIENT, [logits, outputs[0] as Value, dWeights], { routing })];
  },
  lower({ recorder, attributes: { routing, bias }, inputs, outputs, rows, weights }) {
    const [indices, ofExperts] = outputs as [View, View];
    route(recorder, routing, inputs[0] as View, rows.count, weights.vector(bias), indices, ofExperts);
  },
});

/** Inputs: logits, the experts' numbers, the gradient of the weights. */
export const ROUTE_GRADIENT = defineOp<{ routing: RoutingSpec }>({
  name: "routeGradient",
  formula: "d weights / d logits, the choice constant",
  shapes: ([logits]) => [logits as Value],
  reference(call) {
    const { routing } = call.attributes;
    const each = allRows(call).map((row) =>
      routedGradient(routing, rowOf(call, 0, row), rowOf(call, 1, row), rowOf(call, 2, row)),
    );
    return [Float64Array.from(each.flat())];
  },
  lower({ recorder, attributes: { routing }, inputs, outputs, rows }) {
    const [logits, indices, dWeights] = inputs as [View, View, View];
    routeGradient(recorder, routing, logits, indices, dWeights, rows.count, outputs[0] as View);
  },
});
