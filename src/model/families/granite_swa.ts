/**
 * Granite with windows: Granite with a window in three of four layers, a sink in each head's softmax, and a RoPE for each
 * theta that layers name; layers that name 0 have none.
 */
import type { ConfigReader } from "../config.ts";
import { type Family, windowedLayers } from "./common.ts";
import { graniteLike } from "./granite.ts";
import { BLOCK } from "./llama-like.ts";
import { readRope } from "./rope-config.ts";

const DEFAULTS = {
  nLayers: 24,
  dModel: 2560,
  nHeads: 20,
  nKvHeads: 4,
  dMlp: 8192,
  vocabSize: 100352,
  maxPositions: 8192,
};

export const graniteSwa: Family = (config) => {
  const spec = graniteLike(config, "granite_swa", DEFAULTS, { eps: 1e-5, tied: true });
  const { nLayers, ropes } = spec;
  const shared = ropes[0]?.theta as number;
  const thetas = layerThetas(config, nLayers, shared);
  const used = [...new Set(thetas.filter((theta) => theta !== 0))];
  const { dHead, maxPositions } = spec;
  const rope = readRope(config, { dHead, maxPositions, style: "half", theta: 10000, partial: null });
  const types = thetas.map((_, i) => (i % 4 === 0 ? "full_attention" : "sliding_attention"));
  const layers = windowedLayers(config, types, config.nullableInteger("sliding_window", 128));
  return {
    ...spec,
    attention: { ...spec.attention, sinks: true },
    ropes: used.map((theta) => ({ ...rope, theta })),
    layers: layers.map((layer, i) => ({ ...layer, rope: thetas[i] ? used.indexOf(thetas[i]) : null })),
    weights: { ...spec.weights, "attn.sinks": { tensor: `${BLOCK}.self_attn.sinks` } },
  };
};

/** `layer_rope_theta`, or the one theta for all. */
function layerThetas(config: ConfigReader, nLayers: number, theta: number): number[] {
  const thetas = config.list("layer_rope_theta", new Array(nLayers).fill(theta));
  if (thetas.length === nLayers && thetas.every((value) => Number.isFinite(value) && (value as number) >= 0))
    return thetas as number[];
  return config.refuse("layer_rope_theta", `must be a list of one number for each of ${nLayers} layers`);
}
