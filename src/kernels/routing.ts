/** How rows are given to experts: the kernels' side of a mixture's router. */
import routeSource from "../../shaders/route.wgsl";
import routeGradientSource from "../../shaders/route_gradient.wgsl";
import { defineKernel, f32, u32 } from "../gpu/kernel.ts";
import type { BufferSlice, Recorder } from "../gpu/recorder.ts";
import { foldGrid } from "../gpu/recorder.ts";
import { elementGrid } from "./launch.ts";
import type { View } from "./view.ts";

/** From the router's logits [row, count] to the experts of each row, the greatest first, and their weights. */
export interface RoutingSpec {
  /**
   * What becomes of the logits: `softmax` over all experts; `sigmoid` of each; `sparsemixer` (phimoe, arXiv 2409.12136, as it runs
   * after training): of the two greatest each gets its weight in a softmax over the experts that are not `tolerance` below it,
   * the second without the first.
   */
  scores: "softmax" | "sigmoid" | "sparsemixer";
  /** Experts l with (max - l) / max(|l|, max) > 2 tolerance are left out of a softmax of `sparsemixer`. */
  tolerance?: number;
  /** Experts are chosen by score + `mlp.b_choice`; their weights are the scores alone (deepseek_v3). */
  choiceBias?: boolean;
  /**
   * Experts lie in `count` groups of as many. The `chosen` groups that are greatest, by their greatest score (`max`) or the sum of
   * their two greatest (`topTwo`), keep what experts are chosen by; in the others it counts as 0 (deepseek).
   */
  groups?: { count: number; chosen: number; by: "max" | "topTwo" };
  /** Weights are divided by max(their sum + plus, atLeast); as they are when absent. */
  normalize?: { plus: number; atLeast: number };
  /** Multiplies the weights. */
  scale: number;
}

const SCORES_CODE: Record<RoutingSpec["scores"], number> = { softmax: 0, sigmoid: 1, sparsemixer: 2 };

const ROUTING_PARAMS = {
  ...u32("rowCount", "experts", "chosen", "logitStart", "logitStride", "indexStart", "indexStride"),
  ...u32("weightStart", "weightStride"),
  ...f32("plus", "atLeast", "scale", "tolerance"),
};

const ROUTE = defineKernel({
  name: "route",
  sources: routeSource,
  bindings: { logits: "read", bias: "read", out: "write" },
  params: { ...ROUTING_PARAMS, ...u32("groups", "groupsChosen") },
});

const ROUTE_GRADIENT = defineKernel({
  name: "route gradient",
  sources: routeGradientSource,
  bindings: { logits: "read", indices: "read", dWeights: "read", out: "write" },
  params: ROUTING_PARAMS,
});

function constantsOf({ scores, normalize }: RoutingSpec) {
  return { SCORES: SCORES_CODE[scores], ...(normalize && { NORMALIZE: 1 }) };
}

function numbersOf(routing: RoutingSpec, logits: View, rows: number) {
  const { normalize, scale, tolerance } = routing;
  return {
    rowCount: rows,
    experts: logits.width,
    logitStart: logits.start,
    logitStride: logits.rowStride,
    plus: normalize?.plus ?? 0,
    atLeast: normalize?.atLeast ?? 0,
    scale,
    tolerance: tolerance ?? 0,
  };
}

/** Indices [row, chosen] and weights [row, chosen] of each row's experts, which lie in one buffer; logits [row, experts]. */
export function route(
  recorder: Recorder,
  routing: RoutingSpec,
  logits: View,
  rows: number,
  bias: BufferSlice | undefined,
  indices: View,
  weights: View,
): void {
  const { groups } = routing;
  recorder.dispatch(ROUTE, {
    params: {
      ...numbersOf(routing, logits, rows),
      chosen: indices.width,
      indexStart: indices.start,
      indexStride: indices.rowStride,
      weightStart: weights.start,
      weightStride: weights.rowStride,
      groups: groups?.count ?? 1,
      groupsChosen: groups?.chosen ?? 1,
    },
    buffers: { logits: logits.buffer, bias: bias ?? recorder.gpu.zeros, out: indices.buffer },
    workgroups: foldGrid(recorder.gpu, rows),
    constants: {
      ...constantsOf(routing),
      ...(bias && { HAS_BIAS: 1 }),
      ...(groups && { GROUPED: 1 }),
      ...(groups?.by === "topTwo" && { TOP_TWO: 1 }),
      ...(recorder.gpu.host.adapterInfo.isSoftware && { THREADS: 1 }),
    },
  });
}

/** d metric / d logits [row, experts], packed, of the gradient of the weights. */
export function routeGradient(
  recorder: Recorder,
  routing: RoutingSpec,
  logits: View,
  indices: View,
  dWeights: View,
  rows: number,
  out: View,
): void {
  recorder.dispatch(ROUTE_GRADIENT, {
    params: {
      ...numbersOf(routing, logits, rows),
      chosen: indices.width,
      indexStart: indices.start,
      indexStride: indices.rowStride,
      weightStart: dWeights.start,
      weightStride: dWeights.rowStride,
    },
    buffers: { logits: logits.buffer, indices: indices.buffer, dWeights: dWeights.buffer, out: out.buffer },
    workgroups: elementGrid(recorder, rows),
    constants: constantsOf(routing),
  });
}
