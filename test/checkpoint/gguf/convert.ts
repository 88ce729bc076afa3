/**
 * What llama.cpp's `convert_hf_to_gguf.py` makes of a model of Hugging Face, for the families of the fixtures: GGUF's names, the
 * rows of Llama's queries and keys as pairs, one added to the weights of Gemma's norms, and the config as metadata.
 */
import { type TensorEntry, toFloat32 } from "../../../src/checkpoint/index.ts";
import { type FixtureFiles, valuesOf } from "../../support/fixtures.ts";
import { floats, type Pairs, type Written, writeGguf } from "../../support/gguf.ts";

/** Hugging Face's names of modules and GGUF's. */
const PLAIN: [RegExp, string][] = [
  [/^(?:model\.)?embed_tokens\./, "token_embd."],
  [/^model\.norm\./, "output_norm."],
  [/^lm_head\./, "output."],
  [/^model\.layers\.(\d+)\.input_layernorm\./, "blk.$1.attn_norm."],
  [/^model\.layers\.(\d+)\.self_attn\.([qkv])_proj\./, "blk.$1.attn_$2."],
  [/^model\.layers\.(\d+)\.self_attn\.qkv_proj\./, "blk.$1.attn_qkv."],
  [/^model\.layers\.(\d+)\.self_attn\.o_proj\./, "blk.$1.attn_output."],
  [/^model\.layers\.(\d+)\.self_attn\.([qk])_norm\./, "blk.$1.attn_$2_norm."],
  [/^model\.layers\.(\d+)\.mlp\.(gate|up|down)_proj\./, "blk.$1.ffn_$2."],
  [/^model\.layers\.(\d+)\.mlp\.gate_up_proj\./, "blk.$1.ffn_up."],
  [/^model\.layers\.(\d+)\.mlp\.(?:gate|router)\./, "blk.$1.ffn_gate_inp."],
  [/^model\.layers\.(\d+)\.mlp\.experts\.(gate|up|down)_proj\./, "blk.$1.ffn_$2_exps."],
  [/^model\.layers\.(\d+)\.mlp\.shared_expert_gate\./, "blk.$1.ffn_gate_inp_shexp."],
  [/^model\.layers\.(\d+)\.mlp\.shared_expert\.(gate|up|down)_proj\./, "blk.$1.ffn_$2_shexp."],
  [/^model\.layers\.(\d+)\.self_attn\.sinks$/, "blk.$1.attn_sinks.weight"],
];
const PRE_NORMS: [RegExp, string][] = [[/^model\.layers\.(\d+)\.post_attention_layernorm\./, "blk.$1.ffn_norm."]];
const LATE_NORMS: [RegExp, string][] = [
  [/^model\.layers\.(\d+)\.post_attention_layernorm\./, "blk.$1.post_attention_norm."],
];
const POST_NORMS: [RegExp, string][] = [
  [/^model\.layers\.(\d+)\.post_attention_layernorm\./, "blk.$1.post_attention_norm."],
  [/^model\.layers\.(\d+)\.pre_feedforward_layernorm\./, "blk.$1.ffn_norm."],
  [/^model\.layers\.(\d+)\.post_feedforward_layernorm\./, "blk.$1.post_ffw_norm."],
];

/**
 * A fixture family as a GGUF file. `extra` is metadata beside that of all; undefined takes a key away. `change` makes another
 * tensor of one; `tokenizer` is metadata of its own names.
 */
export function converted(
  { config, tensors }: FixtureFiles,
  architecture: string,
  extra: Pairs = {},
  change: (tensor: Written) => Written = (tensor) => tensor,
  tokenizer: Pairs = {},
): Uint8Array {
  const isGemma = architecture.startsWith("gemma");
  const norms = isGemma || architecture === "olmo2" ? POST_NORMS : architecture === "gpt-oss" ? LATE_NORMS : PRE_NORMS;
  const names = [...PLAIN, ...norms];
  const written = withStackedExperts(tensors).map(({ name, shape, dtype, data }): Written => {
    const [pattern, replacement] = names.find(([each]) => each.test(name)) ?? [/^/, ""];
    const values = toFloat32(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), dtype).slice();
    if (isGemma && name.endsWith("norm.weight"))
      for (let i = 0; i < values.length; i++) values[i] = (values[i] ?? 0) + 1;
    const heads = /q_proj/.test(name) ? config.num_attention_heads : config.num_key_value_heads;
    const isPaired = architecture === "llama" && /self_attn\.[qk]_proj/.test(name);
    const stored = isPaired ? paired(values, shape, heads as number) : values;
    const sizes = /shared_expert_gate/.test(name) ? shape.slice(1) : shape;
    return change(floats(name.replace(pattern, replacement), sizes, stored));
  });
  const own = { ...settingsOf(config), ...extra };
  const pairs = Object.entries(own).filter(([, value]) => value !== undefined);
  const under = pairs.map(([key, value]) => [`${architecture}.${key}`, value]);
  return writeGguf({ ...tokenizer, "general.architecture": architecture, ...Object.fromEntries(under) }, written);
}

/** Each expert's matrices one after the other, [expert, out, in]; gate and up of gpt-oss apart, which has them in turn. */
function withStackedExperts(tensors: readonly TensorEntry[]): TensorEntry[] {
  const kinds = new Map<string, TensorEntry[]>();
  const others: TensorEntry[] = [];
  for (const tensor of tensors) {
    const kind = tensor.name.replace(/\.experts\.\d+\./, ".experts.");
    if (/\.experts\.(gate_up|down)_proj(_bias)?$/.test(tensor.name)) others.push(...gptOssExperts(tensor));
    else if (kind === tensor.name) others.push(tensor);
    else kinds.set(kind, [...(kinds.get(kind) ?? []), tensor]);
  }
  const stacked = [...kinds].map(([name, experts]): TensorEntry => {
    const inOrder = experts.toSorted((a, b) => expertOf(a) - expertOf(b));
    const data = Float32Array.from(inOrder.flatMap((expert) => [...valuesOf(expert)]));
    return { name, dtype: "F32", shape: [experts.length, ...(inOrder[0]?.shape ?? [])], data };
  });
  return [...others, ...stacked];
}

const expertOf = ({ name }: TensorEntry) => Number(/\.experts\.(\d+)\./.exec(name)?.[1]);

function gptOssExperts(tensor: TensorEntry): TensorEntry[] {
  const { name, shape } = tensor;
  const isBias = name.endsWith("_bias");
  const [experts = 0, inner = 1, outer = 1] = isBias ? [shape[0], 1, shape[1]] : shape;
  const values = valuesOf(tensor);
  const make = (kind: string, step: number, first: number): TensorEntry => {
    const rows = outer / step;
    const data = new Float32Array(experts * rows * inner);
    for (let e = 0; e < experts; e++)
      for (let row = 0; row < rows; row++)
        for (let i = 0; i < inner; i++)
          data[(e * rows + row) * inner + i] = values[(e * inner + i) * outer + row * step + first] as number;
    const named = name.replace(/(gate_up|down)_proj(_bias)?$/, `${kind}_proj.${isBias ? "bias" : "weight"}`);
    return { name: named, dtype: "F32", shape: isBias ? [experts, rows] : [experts, rows, inner], data };
  };
  return name.includes("gate_up") ? [make("gate", 2, 0), make("up", 2, 1)] : [make("down", 1, 0)];
}

/** Each head's halves, row by row in turn. */
function paired(values: Float32Array, [rows = 0, width = 1]: readonly number[], heads: number): Float32Array {
  const out = new Float32Array(values.length);
  const half = rows / heads / 2;
  for (let head = 0; head < heads; head++) {
    for (let i = 0; i < half; i++) {
      for (const part of [0, 1]) {
        const from = (head * 2 + part) * half + i;
        const to = head * 2 * half + 2 * i + part;
        out.set(values.subarray(from * width, (from + 1) * width), to * width);
      }
    }
  }
  return out;
}

function settingsOf(config: Record<string, unknown>): Pairs {
  const rope = (config.rope_parameters ?? config) as { rope_theta?: number; full_attention?: { rope_theta: number } };
  const heads = config.num_attention_heads as number;
  const dHead = (config.head_dim as number | undefined) ?? (config.hidden_size as number) / heads;
  return {
    context_length: config.max_position_embeddings,
    embedding_length: config.hidden_size,
    block_count: config.num_hidden_layers,
    feed_forward_length: config.intermediate_size,
    "attention.head_count": heads,
    "attention.head_count_kv": config.num_key_value_heads,
    "attention.key_length": dHead,
    "attention.value_length": dHead,
    "rope.dimension_count": dHead,
    "attention.layer_norm_rms_epsilon": { type: 6, value: config.rms_norm_eps },
    "rope.freq_base": { type: 6, value: rope.rope_theta ?? rope.full_attention?.rope_theta },
    vocab_size: config.vocab_size,
  };
}

/** Metadata of a mixture of experts. */
export function expertSettings(config: Record<string, unknown>): Pairs {
  return {
    expert_count: config.num_experts ?? config.num_local_experts,
    expert_used_count: config.num_experts_per_tok,
    expert_feed_forward_length: config.moe_intermediate_size ?? config.intermediate_size,
    expert_shared_feed_forward_length: config.shared_expert_intermediate_size,
  };
}
