/** XGLM: OPT with sinusoidal positions, a scaled embedding and GELU. */
import { SIZE_NAMES } from "../config.ts";
import { type Family, readEvenSizes } from "./common.ts";
import { fairseqLike } from "./fairseq.ts";

const DEFAULTS = { nLayers: 24, dModel: 1024, nHeads: 16, dMlp: 4096, vocabSize: 256008, maxPositions: 2048 };
const NAMES = {
  ...SIZE_NAMES,
  nLayers: ["num_layers", "decoder_layers", "num_hidden_layers"],
  dModel: ["d_model", "hidden_size"],
  nHeads: ["attention_heads", "decoder_attention_heads", "num_attention_heads"],
  dMlp: ["ffn_dim", "decoder_ffn_dim"],
};

export const xglm: Family = (config) => {
  config.requireFixed({ add_cross_attention: false });
  const sizes = readEvenSizes(config, DEFAULTS, NAMES);
  const positions = { kind: "sinusoidal", offset: 2 } as const;
  return fairseqLike(config, "xglm", sizes, positions, { prefix: "model", activation: "activation_function" });
};
