/** GPT-Neo: GPT-2 with plain linear layers, alternating full and local attention, and scores that are not scaled. */
import { type ConfigReader, SIZE_NAMES } from "../config.ts";
import { baseSpec, type Family, head, layerNorm, linear, norm, readEvenSizes, separateQkv } from "./common.ts";

const DEFAULTS = { nLayers: 24, dModel: 2048, nHeads: 16, vocabSize: 50257, maxPositions: 2048 };

const NAMES = {
  ...SIZE_NAMES,
  nLayers: ["num_layers", "num_hidden_layers"],
  nHeads: ["num_heads", "num_attention_heads"],
};

export const gptNeo: Family = (config) => {
  const sizes = readEvenSizes(config, DEFAULTS, NAMES);
  const tied = config.boolean("tie_word_embeddings", true);
  const base = baseSpec("gpt_neo", sizes, layerNorm(config.number("layer_norm_epsilon", 1e-5)), { tied });
  const windows = { global: null, local: config.integer("window_size", 256) };
  const block = "transformer.h.{i}";
  return {
    ...base,
    positions: { kind: "learned", offset: 0 },
    attention: { ...base.attention, scale: 1 },
    mlp: { kind: "plain", activation: config.activation("activation_function", "gelu_new") },
    layers: attentionKinds(config, sizes.nLayers).map((kind) => ({ window: windows[kind], rope: null })),
    weights: {
      "embed.W_E": { tensor: "transformer.wte.weight" },
      "embed.W_pos": { tensor: "transformer.wpe.weight" },
      ...norm("ln1", `${block}.ln_1`, { bias: true }),
      ...separateQkv(`${block}.attn.attention`, false),
      ...linear("attn.O", `${block}.attn.attention.out_proj`, { bias: true }),
      ...norm("ln2", `${block}.ln_2`, { bias: true }),
      ...linear("mlp.in", `${block}.mlp.c_fc`, { bias: true }),
      ...linear("mlp.out", `${block}.mlp.c_proj`, { bias: true }),
      ...norm("lnFinal", "transformer.ln_f", { bias: true }),
      ...head(tied),
    },
  };
};

type AttentionKind = "global" | "local";

/**
 * `attention_layers` names the kind of each layer and may go on beyond the last; `attention_types` is a run-length code of it,
 * [[["global", "local"], 12]], and holds only where `attention_layers` is missing.
 */
function attentionKinds(config: ConfigReader, nLayers: number): AttentionKind[] {
  const key = config.has("attention_layers") ? "attention_layers" : "attention_types";
  const expanded = config.has("attention_types") || key === "attention_types" ? expandTypes(config, nLayers) : [];
  const kinds = config.list("attention_layers", expanded).slice(0, nLayers);
  if (kinds.length < nLayers) config.refuse(key, `gives ${kinds.length} layers, but the model has ${nLayers}`);
  return kinds.map((kind) => {
    if (kind === "global" || kind === "local") return kind;
    return config.refuse(key, "has an unsupported entry (supported: global, local)");
  });
}

function expandTypes(config: ConfigReader, nLayers: number): unknown[] {
  const kinds = config.list("attention_types", [[["global", "local"], 12]]).flatMap((run) => {
    const [cycle, repeats] = Array.isArray(run) ? run : [];
    if (!Array.isArray(cycle) || !Number.isSafeInteger(repeats)) {
      config.refuse("attention_types", 'must be a list of [["global" or "local", ...], repeats]');
    }
    // One more than the layers is enough to see that the numbers disagree.
    return Array.from({ length: Math.min(repeats, nLayers + 1) }, () => cycle).flat();
  });
  if (kinds.length === nLayers) return kinds;
  return config.refuse("attention_types", `gives ${kinds.length} layers, but the model has ${nLayers}`);
}
