/**
 * What llama.cpp's `convert_hf_to_gguf.py` makes of a model of Hugging Face, for the families of the fixtures: GGUF's names, the
 * rows of Llama's queries and keys as pairs, one added to the weights of Gemma's norms, and the config as metadata.
 */
import { toFloat32 } from "../../../src/checkpoint/index.ts";
import type { FixtureFiles } from "../../support/fixtures.ts";
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
];
const PRE_NORMS: [RegExp, string][] = [[/^model\.layers\.(\d+)\.post_attention_layernorm\./, "blk.$1.ffn_norm."]];
const POST_NORMS: [RegExp, string][] = [
  [/^model\.layers\.(\d+)\.post_attention_layernorm\./, "blk.$1.post_attention_norm."],
  [/^model\.layers\.(\d+)\.pre_feedforward_layernorm\./, "blk.$1.ffn_norm."],
  [/^model\.layers\.(\d+)\.post_feedforward_layernorm\./, "blk.$1.post_ffw_norm."],
];

/** A fixture family as a GGUF file. `extra` is metadata beside that of all; undefined takes a key away. */
export function converted({ config, tensors }: FixtureFiles, architecture: string, extra: Pairs = {}): Uint8Array {
  const isGemma = architecture.startsWith("gemma");
  const names = [...PLAIN, ...(isGemma || architecture === "olmo2" ? POST_NORMS : PRE_NORMS)];
  const written = tensors.map(({ name, shape, dtype, data }): Written => {
    const [pattern, replacement] = names.find(([each]) => each.test(name)) ?? [/^/, ""];
    const values = toFloat32(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), dtype).slice();
    if (isGemma && name.endsWith("norm.weight"))
      for (let i = 0; i < values.length; i++) values[i] = (values[i] ?? 0) + 1;
    const heads = /q_proj/.test(name) ? config.num_attention_heads : config.num_key_value_heads;
    const isPaired = architecture === "llama" && /self_attn\.[qk]_proj/.test(name);
    const stored = isPaired ? paired(values, shape, heads as number) : values;
    return floats(name.replace(pattern, replacement), shape, stored);
  });
  const own = { ...settingsOf(config), ...extra };
  const pairs = Object.entries(own).filter(([, value]) => value !== undefined);
  const under = pairs.map(([key, value]) => [`${architecture}.${key}`, value]);
  return writeGguf({ "general.architecture": architecture, ...Object.fromEntries(under) }, written);
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
