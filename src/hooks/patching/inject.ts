/**
 * Injection of a vector at one position, in one layer after another. This finds task vectors: the residual at the end of a
 * prompt full of examples is set into a prompt without examples, in the layer where it works best (Hendel et al. 2023,
 * arXiv 2310.15916).
 */
import { HookError } from "../../errors.ts";
import type { TokenInput } from "../../model/input.ts";
import * as s from "../../schema/schema.ts";
import { readCall } from "../call.ts";
import { EDIT_VALUE, type Edit, type EditValue } from "../edit.ts";
import type { HookedModel } from "../hooked-model.ts";
import {
  assertOneColumn,
  EXPERIMENT_FIELDS,
  type ExperimentOptions,
  PROMPT,
  sequenceOf,
  sweepOptions,
} from "./experiment.ts";
import { Grid } from "./grid.ts";
import { LAYER_SITE, type LayerSite, layerAxis, pickPositions, positionAxis, resolveSite } from "./sites.ts";

/** Options of `injectAtLayers`. */
export interface InjectOptions extends ExperimentOptions {
  /** One sequence. */
  input: TokenInput;
  /** One vector for every layer: [width of the site], or an entry of a cache. Either this or `vectors`. */
  vector?: EditValue;
  /** One vector for each of `layers`. */
  vectors?: readonly EditValue[];
  /** Position of the vector; negative from the end. Default -1. */
  position?: number;
  /** Replace the activation or add to it. Default "set". */
  op?: "set" | "add";
  /** Factor of an added vector. Default 1. */
  alpha?: number;
  /** Default "resid_post". */
  at?: LayerSite;
  /** Which layers; all when absent. */
  layers?: s.Indices;
}

export const INJECT_OPTIONS = s.object<InjectOptions>("the options of injectAtLayers", {
  ...EXPERIMENT_FIELDS,
  input: PROMPT,
  vector: EDIT_VALUE,
  vectors: s.list("vectors", EDIT_VALUE),
  position: s.whole,
  op: s.oneOf("set", "add"),
  alpha: s.finite,
  at: LAYER_SITE,
  layers: s.indices,
});

/**
 * One sweep with one cell a layer.
 * @throws HookError `hook/vectors` unless there is one vector, or one for each layer; as `sweep` otherwise.
 */
export async function injectAtLayers(model: HookedModel, given: InjectOptions): Promise<Grid> {
  const options = readCall("injectAtLayers", model, INJECT_OPTIONS, given);
  assertOneColumn(options.metric);
  const ids = sequenceOf(model, options.input, "input");
  const site = resolveSite(model.spec, options.at ?? "resid_post", options.layers);
  const positions = pickPositions([options.position ?? -1], ids.length);
  const vectors = vectorsFor(options, site.layers.length);
  const { op = "set", alpha } = options;
  const cells = site.names.map((at, index): Edit[] => [
    { at, op, positions, value: vectors[index], ...(alpha !== undefined && { alpha }) },
  ]);
  const { values, base } = await model.sweep({ ...sweepOptions(options), input: ids, cells, metric: options.metric });
  return new Grid(layerAxis(site.layers), positionAxis(model, ids, positions), values, base[0] as number);
}

function vectorsFor({ vector, vectors }: s.Read<InjectOptions>, layers: number): readonly EditValue[] {
  if (vector !== undefined && vectors === undefined) return Array.from({ length: layers }, () => vector);
  if (vectors !== undefined && vector === undefined && vectors.length === layers) return vectors;
  const given = vectors ? `${vectors.length} vectors${vector === undefined ? "" : " and a vector"}` : "none";
  throw new HookError("hook/vectors", `Give one vector, or one for each of the ${layers} layers; there is ${given}.`);
}
