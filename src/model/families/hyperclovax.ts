/** HyperCLOVA X SEED Think: Granite whose logits are multiplied, not divided, by logits_scaling, optionally with norms after attention and MLP. */
import { type Family, norm } from "./common.ts";
import { graniteLike } from "./granite.ts";
import { BLOCK } from "./llama-like.ts";

const DEFAULTS = { nLayers: 32, dModel: 4096, nHeads: 32, dMlp: 11008, vocabSize: 32000, maxPositions: 2048 };

export const hyperclovax: Family = (config) => {
  const spec = graniteLike(config, "hyperclovax", DEFAULTS, { eps: 1e-6, tied: false });
  const optional = (key: string, fallback: number) => config.nullableNumber(key, null) ?? fallback;
  const hasPostNorms = config.boolean("use_post_norm", false);
  return {
    ...spec,
    embed: { ...spec.embed, scale: optional("embedding_multiplier", 1) },
    block: {
      ...spec.block,
      norms: hasPostNorms ? "sandwich" : "pre",
      residualScale: optional("residual_multiplier", 1),
    },
    attention: { ...spec.attention, scale: optional("attention_multiplier", spec.dHead ** -0.5) },
    unembed: { ...spec.unembed, scale: optional("logits_scaling", 1) },
    weights: {
      ...spec.weights,
      ...(hasPostNorms ? norm("ln1Post", `${BLOCK}.post_norm1`, { bias: false }) : {}),
      ...(hasPostNorms ? norm("ln2Post", `${BLOCK}.post_norm2`, { bias: false }) : {}),
    },
  };
};
