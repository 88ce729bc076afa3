/** Apertus: Llama with a norm on each head's q and k, and a plain MLP of xIELUs, whose shape each block has learnt. */
import type { Weights } from "./common.ts";
import { type Family, norm, rmsNorm } from "./common.ts";
import { BLOCK, llamaLike, plainUpDown, qkNorms } from "./llama-like.ts";

const DEFAULTS = { nLayers: 32, dModel: 4096, nHeads: 32, dMlp: 14336, vocabSize: 131072, maxPositions: 65536 };

/** What holds where the config has no RoPE settings at all. */
const ROPE = {
  rope_theta: 12e6,
  rope_type: "llama3",
  ...{ factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 },
};

export const apertus: Family = (config) => {
  const isStated = config.has("rope_parameters") || config.has("rope_scaling");
  const isXielu = config.text("hidden_act", "xielu") === "xielu";
  const spec = llamaLike(isStated ? config : config.set("rope_parameters", ROPE), "apertus", DEFAULTS, {
    norm: rmsNorm(config.number("rms_norm_eps", 1e-5)),
    blockNorms: {
      ...norm("ln1", `${BLOCK}.attention_layernorm`, { bias: false }),
      ...norm("ln2", `${BLOCK}.feedforward_layernorm`, { bias: false }),
    },
    plainMlp: plainUpDown(false),
    activation: isXielu ? "xielu" : config.activation("hidden_act", "xielu"),
    rope: { theta: 12e6 },
  });
  return {
    ...spec,
    attention: { ...spec.attention, qkNorm: "head" },
    weights: { ...spec.weights, ...qkNorms(), ...(isXielu && xieluWeights()) },
  };
};

function xieluWeights(): Weights {
  const tensor = (name: string) => ({ tensor: `${BLOCK}.mlp.act_fn.${name}` });
  return {
    "mlp.xielu.alphaP": tensor("alpha_p"),
    "mlp.xielu.alphaN": tensor("alpha_n"),
    "mlp.xielu.beta": tensor("beta"),
    "mlp.xielu.eps": tensor("eps"),
  };
}
