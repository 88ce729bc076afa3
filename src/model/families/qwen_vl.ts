/**
 * The text models of Qwen2-VL, Qwen2.5-VL and Qwen3-VL. They turn heads by three positions, of time, height and width, which
 * are one and the same where there is text alone: then M-RoPE is RoPE.
 */
import type { ConfigReader } from "../config.ts";
import type { ModelSpec } from "../spec.ts";
import { type Family, withCausality } from "./common.ts";
import { llamaLike, qkNorms } from "./llama-like.ts";
import { qwenLayers } from "./qwen2.ts";
import { textModel } from "./text-model.ts";

const DEFAULTS_2 = {
  nLayers: 80,
  dModel: 8192,
  nHeads: 64,
  nKvHeads: 8,
  dMlp: 29568,
  vocabSize: 152064,
  maxPositions: 32768,
};

const DEFAULTS_3 = {
  nLayers: 32,
  dModel: 4096,
  nHeads: 32,
  nKvHeads: 32,
  dHead: 128,
  dMlp: 22016,
  vocabSize: 151936,
  maxPositions: 128000,
};

/** "mrope" was the name of the plain type while the sections stood beside it. */
const aliases = { mrope: "default" };

function qwen2Text(config: ConfigReader): ModelSpec {
  const norm = { kind: "rms", eps: config.number("rms_norm_eps", 1e-5), weightOffset: 0 } as const;
  const options = { norm, qkvBias: true, outBias: false, rope: { theta: 1e6, aliases } };
  const spec = llamaLike(config, "qwen2_vl", DEFAULTS_2, options);
  return withCausality(config, { ...spec, layers: qwenLayers(config, spec.nLayers, 80) });
}

function qwen3Text(config: ConfigReader): ModelSpec {
  const spec = llamaLike(config, "qwen3_vl", DEFAULTS_3, { rope: { theta: 500000, aliases } });
  return withCausality(config, {
    ...spec,
    attention: { ...spec.attention, qkNorm: "head" },
    weights: { ...spec.weights, ...qkNorms() },
  });
}

export const qwen2Vl: Family = (config) => textModel(config, "qwen2_vl", { family: () => qwen2Text, isFlat: true });
export const qwen25Vl: Family = (config) => textModel(config, "qwen2_5_vl", { family: () => qwen2Text, isFlat: true });
export const qwen3Vl: Family = (config) => textModel(config, "qwen3_vl", { family: () => qwen3Text });
