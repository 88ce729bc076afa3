/** A pass that runs only for its captures. */
import { HookError } from "../errors.ts";
import type { ModelInput } from "../model/input.ts";
import type { HookedModel } from "./hooked-model.ts";
import { reachedPoints, resolvePoint } from "./points.ts";
import type { ForwardResult } from "./result.ts";

/** The cheapest pass that reaches the points: it ends after the last block that has one, without logits. */
export async function captureAlone(
  model: HookedModel,
  input: ModelInput,
  names: readonly string[],
  options: { positions?: readonly number[] | undefined; signal?: AbortSignal | undefined } = {},
): Promise<ForwardResult> {
  const captures = { ...options, capture: names, logits: names.includes("logits") ? "all" : "none" } as const;
  const inBlocks = reachedPoints(model.spec, { stopAtLayer: model.spec.nLayers });
  if (names.some((name) => !inBlocks.has(name))) return model.forward(input, captures);
  const stopAtLayer = 1 + Math.max(-1, ...names.map((name) => resolvePoint(model.spec, name).layer ?? -1));
  try {
    return await model.forward(input, { ...captures, stopAtLayer });
  } catch (error) {
    // In a `withEdits` scope an edit may lie further on; refused before anything ran.
    if (!(error instanceof HookError && error.code === "hook/not-reached")) throw error;
    return model.forward(input, captures);
  }
}
