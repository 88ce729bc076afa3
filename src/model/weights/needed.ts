/** The tensors that a spec is loaded from: what a checkpoint made for it holds. */

import { tensorOf } from "../families/resolve.ts";
import type { ModelSpec, WeightName } from "../spec.ts";
import { membersOf, tensorShape } from "./find.ts";
import { isPerBlock, isWeightOf, weightShape } from "./table.ts";

/** A tensor of a checkpoint. Packed ones hold several weights of a kind: queries, keys and values. */
export interface NeededTensor {
  /** The last weight that is cut from it. */
  readonly weight: WeightName;
  /** As it is stored. */
  readonly shape: readonly number[];
  /** Inputs of a matrix, whichever way it is stored; undefined for biases and norms. */
  readonly inputs: number | undefined;
}

/** Every tensor by name, in the order of the spec's weights. */
export function neededTensors(spec: ModelSpec): Map<string, NeededTensor> {
  const tensors = new Map<string, NeededTensor>();
  for (const [key, source] of Object.entries(spec.weights)) {
    const weight = key as WeightName;
    const layers = isPerBlock(weight) ? spec.nLayers : 1;
    for (let layer = 0; layer < layers; layer++) {
      if (!isWeightOf(spec, weight, layer)) continue;
      const inputs = weightShape(spec, weight, layer)[1];
      const needed = { weight, shape: tensorShape(spec, weight, layer), inputs };
      for (const member of Array(membersOf(spec, weight, layer)).keys())
        tensors.set(tensorOf(source, layer, member), needed);
    }
  }
  return tensors;
}
