/** Phi 3 and 4 (short context): Llama with q, k, v in one tensor and the MLP's gate and up projections in another. */
import type { ConfigReader } from "../config.ts";
import type { ModelSpec } from "../spec.ts";
import { baseSpec, head, linear, norm, packedQkv, readSizes, rmsNorm, uniformLayers } from "./common.ts";
import { BLOCK, preNorms } from "./llama-like.ts";
import { readRope } from "./rope-config.ts";

const DEFAULTS = { nLayers: 32, dModel: 3072, nHeads: 32, dMlp: 8192, vocabSize: 32064, maxPositions: 4096 };

export function phi3(config: ConfigReader): ModelSpec {
  const sizes = readSizes(config, DEFAULTS);
  const { nHeads, nKvHeads, dHead, dMlp, maxPositions } = sizes;
  const base = baseSpec("phi3", sizes, rmsNorm(config.number("rms_norm_eps", 1e-5)));
  // transformers takes "yarn" and "su" for LongRoPE here, and knows no other scaling.
  const rope = readRope(config, { dHead, maxPositions, style: "half", theta: 10000, partial: 1, kinds: ["none"] });
  const tied = config.boolean("tie_word_embeddings", false);
  const window = config.nullableInteger("sliding_window", null);
  const gateUp = { groups: 1, groupSize: 2 * dMlp, count: dMlp };
  return {
    ...base,
    mlp: { kind: "gated", activation: config.activation("hidden_act", "silu") },
    layers: uniformLayers(sizes, { window, rope: 0 }),
    ropes: [rope],
    unembed: { ...base.unembed, tied },
    weights: {
      "embed.W_E": { tensor: "model.embed_tokens.weight" },
      ...preNorms(false),
      ...packedQkv(
        `${BLOCK}.self_attn.qkv_proj`,
        { groups: 1, q: nHeads * dHead, k: nKvHeads * dHead, v: nKvHeads * dHead },
        { bias: false },
      ),
      ...linear("attn.O", `${BLOCK}.self_attn.o_proj`, { bias: false }),
      ...linear("mlp.gate", `${BLOCK}.mlp.gate_up_proj`, { bias: false, rows: { ...gateUp, start: 0 } }),
      ...linear("mlp.in", `${BLOCK}.mlp.gate_up_proj`, { bias: false, rows: { ...gateUp, start: dMlp } }),
      ...linear("mlp.out", `${BLOCK}.mlp.down_proj`, { bias: false }),
      ...norm("lnFinal", "model.norm", { bias: false }),
      ...head(tied),
    },
  };
}
