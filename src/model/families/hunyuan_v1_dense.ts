/** Hunyuan (dense): Llama with norms of each head's q and k after RoPE, whose base may be stretched once and for all. */
import type { ConfigReader } from "../config.ts";
import type { RopeSpec } from "../spec.ts";
import { type Family, norm, rmsNorm } from "./common.ts";
import { BLOCK, llamaLike } from "./llama-like.ts";
import { readRope } from "./rope-config.ts";

const DEFAULTS = { nLayers: 32, dModel: 4096, nHeads: 32, dMlp: 11008, vocabSize: 290943, maxPositions: 2048 };

export const hunyuanV1Dense: Family = (config) => {
  const spec = llamaLike(config, "hunyuan_v1_dense", DEFAULTS, {
    norm: rmsNorm(config.number("rms_norm_eps", 1e-5)),
    ropes: ({ dHead, maxPositions }) => [hunyuanRope(config, dHead, maxPositions)],
  });
  return {
    ...spec,
    attention: { ...spec.attention, qkNorm: "head", qkNormAfterRope: true },
    weights: {
      ...spec.weights,
      ...norm("attn.qNorm", `${BLOCK}.self_attn.query_layernorm`, { bias: false }),
      ...norm("attn.kNorm", `${BLOCK}.self_attn.key_layernorm`, { bias: false }),
    },
  };
};

/** Dynamic scaling with an `alpha` is none: theta is stretched whatever the length. */
export function hunyuanRope(config: ConfigReader, dHead: number, maxPositions: number): RopeSpec {
  const defaults = { dHead, maxPositions, style: "half", theta: 10000, partial: null } as const;
  const rope = readRope(config, defaults);
  const settings = config.child("rope_scaling") ?? config.child("rope_parameters");
  const alpha = settings?.nullableNumber("alpha", null) || null;
  if (rope.scaling.kind !== "dynamic" || alpha === null) return rope;
  return { ...rope, theta: rope.theta * alpha ** (dHead / (dHead - 2)), scaling: { kind: "none" } };
}
