/**
 * How GGUF's architectures are called in Hugging Face's terms: the `model_type`, the keys of `config.json` and the names of
 * tensors. llama.cpp's `convert_hf_to_gguf.py` goes the other way; each row here takes back what it does to a family.
 */

/** One value of `general.architecture`. */
export interface Architecture {
  /** `model_type` of `config.json`. */
  readonly modelType: string;
  /** GGUF's names of modules and Hugging Face's: `.weight` and `.bias` follow both. */
  readonly modules: Readonly<Record<string, string>>;
  /** Metadata under `architecture.` beside that of all, and the keys of `config.json`. */
  readonly keys: Readonly<Record<string, string>>;
  /** Modules whose rows the converter reorders in each head, from halves of a rotation to neighbouring pairs. */
  readonly pairedRows?: readonly string[];
  /** The converter adds one to the weights of norms. */
  readonly normsPlusOne?: boolean;
  /** `model_type` where the file states a window. */
  readonly windowedType?: string;
  /** Metadata under `architecture.` that must be there, beside that of all. */
  readonly required?: readonly string[];
  /** Whether a part of a head may rotate (`rope.dimension_count`). */
  readonly partialRope?: boolean;
  /** Settings that no file states, since llama.cpp knows them of the architecture. */
  readonly fixed?: (sizes: FixedSizes) => Readonly<Record<string, unknown>>;
  /** The same of the scaling of RoPE. */
  readonly fixedRope?: Readonly<Record<string, unknown>>;
  /** Names of tensors in full, where Hugging Face has no `.weight` or `.bias` behind a module. */
  readonly tensors?: Readonly<Record<string, string>>;
  /** Tensors of Hugging Face whose rows, in each matrix, are by turns those of two of the file. */
  readonly byTurns?: Readonly<Record<string, readonly [even: string, odd: string]>>;
  /** Tensors of Hugging Face that are [.., in, out] there, and [.., out, in] in the file. */
  readonly turned?: ReadonlySet<string>;
  /** Tensors of Hugging Face that are a matrix of one row, and a vector in the file. */
  readonly oneRow?: ReadonlySet<string>;
}

/** What `fixed` may go by. */
export interface FixedSizes {
  layers: number;
  dModel: number;
  heads: number;
  dHead: number;
  /** Whether the file has a tensor, by GGUF's name. */
  has(tensor: string): boolean;
}

/** Metadata that every architecture must have. */
export const REQUIRED_KEYS: readonly string[] = [
  "context_length",
  "embedding_length",
  "block_count",
  "feed_forward_length",
  "attention.head_count",
  "attention.layer_norm_rms_epsilon",
];

/** Metadata that every architecture may have, and the keys of `config.json`. */
export const COMMON_KEYS: Readonly<Record<string, string>> = {
  context_length: "max_position_embeddings",
  embedding_length: "hidden_size",
  block_count: "num_hidden_layers",
  feed_forward_length: "intermediate_size",
  "attention.head_count": "num_attention_heads",
  "attention.head_count_kv": "num_key_value_heads",
  "attention.layer_norm_rms_epsilon": "rms_norm_eps",
  "attention.key_length": "head_dim",
  "attention.causal": "is_causal",
  "rope.freq_base": "rope_theta",
};

const COMMON_MODULES = {
  token_embd: "model.embed_tokens",
  output_norm: "model.norm",
  output: "lm_head",
  "blk.{i}.attn_norm": "model.layers.{i}.input_layernorm",
  "blk.{i}.attn_q": "model.layers.{i}.self_attn.q_proj",
  "blk.{i}.attn_k": "model.layers.{i}.self_attn.k_proj",
  "blk.{i}.attn_v": "model.layers.{i}.self_attn.v_proj",
  "blk.{i}.attn_output": "model.layers.{i}.self_attn.o_proj",
  "blk.{i}.ffn_norm": "model.layers.{i}.post_attention_layernorm",
  "blk.{i}.ffn_gate": "model.layers.{i}.mlp.gate_proj",
  "blk.{i}.ffn_up": "model.layers.{i}.mlp.up_proj",
  "blk.{i}.ffn_down": "model.layers.{i}.mlp.down_proj",
};

const QK_NORMS = {
  "blk.{i}.attn_q_norm": "model.layers.{i}.self_attn.q_norm",
  "blk.{i}.attn_k_norm": "model.layers.{i}.self_attn.k_norm",
};

/** Gemma 2 and 3: norms before and after. What is called `post_attention_layernorm` is after it, as the name says. */
const SANDWICH = {
  "blk.{i}.post_attention_norm": "model.layers.{i}.post_attention_layernorm",
  "blk.{i}.ffn_norm": "model.layers.{i}.pre_feedforward_layernorm",
  "blk.{i}.post_ffw_norm": "model.layers.{i}.post_feedforward_layernorm",
};

const { "blk.{i}.attn_norm": _attention, "blk.{i}.ffn_norm": _mlp, ...WITHOUT_PRE_NORMS } = COMMON_MODULES;

/**
 * The width by which Gemma 2 and 3 scale a query: a head's, but in the 27B models, which are known by their layers, the
 * share of a head in the residual stream (llama.cpp, `f_attention_scale`).
 */
const gemmaScale =
  (layersOf27B: number) =>
  ({ layers, dModel, heads, dHead }: FixedSizes) => ({
    query_pre_attn_scalar: layers === layersOf27B ? dModel / heads : dHead,
  });

const { "blk.{i}.ffn_norm": _norm, ...WITHOUT_MLP_NORM } = COMMON_MODULES;
const MLP = "model.layers.{i}.mlp";

/** Of each kind of an expert's matrices the file has one tensor, [expert, out, in], and Qwen has one of every expert, `{e}`. */
const QWEN_EXPERTS = {
  "blk.{i}.ffn_gate_inp": `${MLP}.gate`,
  "blk.{i}.ffn_gate_exps": `${MLP}.experts.{e}.gate_proj`,
  "blk.{i}.ffn_up_exps": `${MLP}.experts.{e}.up_proj`,
  "blk.{i}.ffn_down_exps": `${MLP}.experts.{e}.down_proj`,
};

const EXPERT_KEYS = {
  expert_count: "num_experts",
  expert_used_count: "num_experts_per_tok",
  expert_feed_forward_length: "moe_intermediate_size",
};

/** Layers without a router have one MLP. */
const denseLayers = ({ layers, has }: FixedSizes): number[] =>
  Array.from({ length: layers }, (_, layer) => layer).filter((layer) => !has(`blk.${layer}.ffn_gate_inp.weight`));

/** Every architecture that can be read. */
export const ARCHITECTURES: ReadonlyMap<string, Architecture> = new Map<string, Architecture>([
  [
    "llama",
    {
      modelType: "llama",
      modules: COMMON_MODULES,
      keys: { "attention.sliding_window": "sliding_window" },
      windowedType: "mistral",
      pairedRows: ["blk.{i}.attn_q", "blk.{i}.attn_k"],
    },
  ],
  ["qwen2", { modelType: "qwen2", modules: COMMON_MODULES, keys: {} }],
  ["qwen3", { modelType: "qwen3", modules: { ...COMMON_MODULES, ...QK_NORMS }, keys: {} }],
  [
    "qwen2moe",
    {
      modelType: "qwen2_moe",
      modules: {
        ...COMMON_MODULES,
        ...QWEN_EXPERTS,
        "blk.{i}.ffn_gate_inp_shexp": `${MLP}.shared_expert_gate`,
        "blk.{i}.ffn_gate_shexp": `${MLP}.shared_expert.gate_proj`,
        "blk.{i}.ffn_up_shexp": `${MLP}.shared_expert.up_proj`,
        "blk.{i}.ffn_down_shexp": `${MLP}.shared_expert.down_proj`,
      },
      oneRow: new Set([`${MLP}.shared_expert_gate.weight`]),
      keys: { ...EXPERT_KEYS, expert_shared_feed_forward_length: "shared_expert_intermediate_size" },
      required: [...Object.keys(EXPERT_KEYS), "expert_shared_feed_forward_length"],
      fixed: (sizes) => ({
        norm_topk_prob: false,
        mlp_only_layers: denseLayers(sizes),
        qkv_bias: sizes.has("blk.0.attn_q.bias"),
      }),
    },
  ],
  [
    "qwen3moe",
    {
      modelType: "qwen3_moe",
      modules: { ...COMMON_MODULES, ...QK_NORMS, ...QWEN_EXPERTS },
      keys: EXPERT_KEYS,
      required: Object.keys(EXPERT_KEYS),
      fixed: (sizes) => ({ norm_topk_prob: true, mlp_only_layers: denseLayers(sizes) }),
    },
  ],
  [
    "gpt-oss",
    {
      modelType: "gpt_oss",
      modules: {
        ...WITHOUT_MLP_NORM,
        "blk.{i}.post_attention_norm": "model.layers.{i}.post_attention_layernorm",
        "blk.{i}.ffn_gate_inp": `${MLP}.router`,
      },
      tensors: {
        "blk.{i}.attn_sinks.weight": "model.layers.{i}.self_attn.sinks",
        "blk.{i}.ffn_down_exps.weight": `${MLP}.experts.down_proj`,
        "blk.{i}.ffn_down_exps.bias": `${MLP}.experts.down_proj_bias`,
      },
      byTurns: {
        [`${MLP}.experts.gate_up_proj`]: ["blk.{i}.ffn_gate_exps.weight", "blk.{i}.ffn_up_exps.weight"],
        [`${MLP}.experts.gate_up_proj_bias`]: ["blk.{i}.ffn_gate_exps.bias", "blk.{i}.ffn_up_exps.bias"],
      },
      turned: new Set([`${MLP}.experts.gate_up_proj`, `${MLP}.experts.down_proj`]),
      keys: {
        "attention.sliding_window": "sliding_window",
        expert_count: "num_local_experts",
        expert_used_count: "num_experts_per_tok",
        expert_feed_forward_length: "intermediate_size",
      },
      required: ["attention.sliding_window", "expert_count", "expert_used_count", "expert_feed_forward_length"],
      // llama.cpp rounds the bounds of YaRN's ramp; the model was trained with those that are not rounded.
      fixedRope: { truncate: false },
    },
  ],
  [
    "gemma2",
    {
      modelType: "gemma2",
      modules: { ...COMMON_MODULES, ...SANDWICH },
      keys: {
        "attention.sliding_window": "sliding_window",
        attn_logit_softcapping: "attn_logit_softcapping",
        final_logit_softcapping: "final_logit_softcapping",
      },
      normsPlusOne: true,
      fixed: gemmaScale(46),
    },
  ],
  [
    "gemma3",
    {
      modelType: "gemma3_text",
      modules: { ...COMMON_MODULES, ...SANDWICH, ...QK_NORMS },
      keys: {
        "attention.sliding_window": "sliding_window",
        "attention.sliding_window_pattern": "sliding_window_pattern",
        "rope.freq_base_swa": "rope_local_base_freq",
        final_logit_softcapping: "final_logit_softcapping",
      },
      required: ["attention.sliding_window"],
      normsPlusOne: true,
      fixed: gemmaScale(62),
    },
  ],
  [
    "phi3",
    {
      modelType: "phi3",
      modules: {
        ...COMMON_MODULES,
        "blk.{i}.attn_qkv": "model.layers.{i}.self_attn.qkv_proj",
        "blk.{i}.ffn_up": "model.layers.{i}.mlp.gate_up_proj",
      },
      keys: { "attention.sliding_window": "sliding_window" },
      partialRope: true,
    },
  ],
  [
    "olmo2",
    {
      modelType: "olmo2",
      modules: {
        ...WITHOUT_PRE_NORMS,
        ...QK_NORMS,
        "blk.{i}.post_attention_norm": "model.layers.{i}.post_attention_layernorm",
        "blk.{i}.post_ffw_norm": "model.layers.{i}.post_feedforward_layernorm",
      },
      keys: {},
    },
  ],
]);

/** Tensors that are settings: they are read for `config.json`, and are no weights. */
export const SETTING_TENSORS: ReadonlySet<string> = new Set([
  "rope_freqs.weight",
  "rope_factors_short.weight",
  "rope_factors_long.weight",
]);

/** A tensor's GGUF name in the words of the table: its module with `{i}` for the layer, the layer, and `.weight` or so. */
export function moduleOf(name: string): { module: string; layer?: string; parameter: string } {
  const [, module = "", parameter = ""] = /^(.*?)(\.(?:weight|bias))?$/.exec(name) ?? [];
  const layer = /^blk\.(\d+)\./.exec(module)?.[1];
  return { module: module.replace(/^blk\.\d+\./, "blk.{i}."), ...(layer !== undefined && { layer }), parameter };
}

/** Where Hugging Face's files have a tensor. */
export interface FamilyTensor {
  /** Its name; `{e}` stands for the expert, where each has a tensor. */
  readonly name: string;
  /** Its rows are every second one there, and the others those of another tensor of the file. */
  readonly turn?: { readonly isOdd: boolean; readonly other: string };
  readonly isTurned: boolean;
  readonly isOneRow: boolean;
}

/** A tensor in Hugging Face's files; undefined when the architecture has no such tensor. */
export function familyTensor(architecture: Architecture, tensor: string): FamilyTensor | undefined {
  const { tensors = {}, byTurns = {}, turned, oneRow, modules } = architecture;
  const { module, layer = "", parameter } = moduleOf(tensor);
  const own = module + parameter;
  const [shared, pair] = Object.entries(byTurns).find(([, names]) => names.includes(own)) ?? [];
  const inModule = Object.hasOwn(modules, module) && parameter !== "" ? `${modules[module]}${parameter}` : undefined;
  const name = shared ?? (Object.hasOwn(tensors, own) ? tensors[own] : inModule);
  if (name === undefined) return undefined;
  const isOdd = pair?.[1] === own;
  return {
    name: name.replace("{i}", layer),
    ...(pair && { turn: { isOdd, other: pair[isOdd ? 0 : 1].replace("{i}", layer) } }),
    isTurned: turned?.has(name) ?? false,
    isOneRow: oneRow?.has(name) ?? false,
  };
}
