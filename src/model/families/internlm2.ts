/** InternLM 2: Llama under other names, with q, k and v packed by key-value head: its queries, its key, its value. */
import { type Family, head, linear, norm, packedQkv } from "./common.ts";
import { llamaLike } from "./llama-like.ts";

const DEFAULTS = { nLayers: 32, dModel: 4096, nHeads: 32, dMlp: 11008, vocabSize: 103168, maxPositions: 2048 };

const BLOCK = "model.layers.{i}";

export const internlm2: Family = (config) => {
  const bias = config.boolean("bias", true);
  const spec = llamaLike(config, "internlm2", DEFAULTS, {
    qkvBias: bias,
    rope: { kinds: ["none", "linear", "dynamic"] },
  });
  const { nHeads, nKvHeads, dHead } = spec;
  const qkv = { groups: nKvHeads, q: (nHeads / nKvHeads) * dHead, k: dHead, v: dHead };
  return {
    ...spec,
    weights: {
      "embed.W_E": { tensor: "model.tok_embeddings.weight" },
      ...norm("ln1", `${BLOCK}.attention_norm`, { bias: false }),
      ...packedQkv(`${BLOCK}.attention.wqkv`, qkv, { bias }),
      ...linear("attn.O", `${BLOCK}.attention.wo`, { bias }),
      ...norm("ln2", `${BLOCK}.ffn_norm`, { bias: false }),
      ...linear("mlp.gate", `${BLOCK}.feed_forward.w1`, { bias: false }),
      ...linear("mlp.in", `${BLOCK}.feed_forward.w3`, { bias: false }),
      ...linear("mlp.out", `${BLOCK}.feed_forward.w2`, { bias: false }),
      ...norm("lnFinal", "model.norm", { bias: false }),
      ...head(spec.unembed.tied, "output.weight"),
    },
  };
};
