/**
 * The metadata of a GGUF file as a `config.json` of Hugging Face's family. Each key that belongs to the architecture is
 * translated, or known to change nothing, or refused by name.
 */
import { ConfigError } from "../../errors.ts";
import { ARCHITECTURES, type Architecture, COMMON_KEYS, REQUIRED_KEYS } from "./architectures.ts";
import type { GgufValue } from "./header.ts";
import { ropeScaling } from "./rope.ts";
import { type GgufFacts, missing, Settings } from "./settings.ts";

/** Keys that change nothing that is computed, or that are read for their own sake below. */
const IDLE_KEYS: ReadonlySet<string> = new Set([
  "vocab_size", // the embedding's rows count
  "tensor_data_layout",
  "pooling_type", // what an embedding model does with the residual stream
  "attention.value_length",
  "rope.dimension_count",
]);

/** Keys that are harmless at one value, which says that there is no such thing. */
const NEUTRAL: Readonly<Record<string, GgufValue>> = {
  expert_count: 0,
  expert_used_count: 0,
  use_parallel_residual: false,
};

/** llama.cpp's, where a file has none; it is not each family's own. */
const DEFAULT_THETA = 10_000;

/**
 * The row of `general.architecture`.
 * @throws ConfigError `config/unknown-model-type`, with the list; `config/missing`
 */
export function architectureOf({ metadata, label }: Pick<GgufFacts, "metadata" | "label">): Architecture {
  const name = metadata.get("general.architecture");
  const known = typeof name === "string" ? ARCHITECTURES.get(name) : undefined;
  if (known) return known;
  if (name === undefined) throw missing(label, "general.architecture");
  throw new ConfigError(
    "config/unknown-model-type",
    `${label}: the architecture ${JSON.stringify(String(name))} is not read from GGUF (read: ${[...ARCHITECTURES.keys()].join(", ")}). ` +
      "Take the model's safetensors, if its family is in docs/families.md.",
  );
}

/**
 * `config.json` of the model.
 * @throws ConfigError for an architecture or a key that is not known, and for a key that is missing
 */
export async function ggufConfig(facts: GgufFacts): Promise<Record<string, unknown>> {
  const architecture = architectureOf(facts);
  const settings = new Settings(facts);
  for (const key of [...REQUIRED_KEYS, ...(architecture.required ?? [])]) settings.require(key);
  const config: Record<string, unknown> = { model_type: architecture.modelType };
  for (const [key, name] of Object.entries({ ...COMMON_KEYS, ...architecture.keys })) {
    const value = settings.take(key);
    if (value !== undefined) config[name] = value;
  }
  // Of no window: llama.cpp writes 0 for Phi 4, which has none.
  if (config.sliding_window === 0) config.sliding_window = null;
  if (architecture.windowedType && typeof config.sliding_window === "number")
    config.model_type = architecture.windowedType;
  Object.assign(config, sizesOf(settings, config, facts, architecture));
  const scaling = await ropeScaling(settings, facts, config);
  if (scaling || architecture.fixedRope)
    config.rope_scaling = { ...(scaling ?? { rope_type: "default" }), ...architecture.fixedRope };
  if (Array.isArray(config.sliding_window_pattern)) {
    // True where a layer has the window.
    config.layer_types = config.sliding_window_pattern.map((on) => (on ? "sliding_attention" : "full_attention"));
    delete config.sliding_window_pattern;
  }
  Object.assign(config, tokensOf(facts));
  settings.refuseOthers(IDLE_KEYS, NEUTRAL);
  return config;
}

/** What Hugging Face's families would take from defaults of their own, as llama.cpp takes it. */
function sizesOf(
  settings: Settings,
  config: Readonly<Record<string, unknown>>,
  { shapes, label }: GgufFacts,
  architecture: Architecture,
): Record<string, unknown> {
  const size = (name: string) => config[name] as number;
  const heads = size("num_attention_heads");
  const dHead = (config.head_dim as number | undefined) ?? size("hidden_size") / heads;
  const valueWidth = settings.number("attention.value_length") ?? dHead;
  if (valueWidth !== dHead) settings.refuse("attention.value_length", `heads are ${dHead} wide`);
  const rotary = settings.number("rope.dimension_count") ?? dHead;
  if (rotary !== dHead && !architecture.partialRope)
    settings.refuse("rope.dimension_count", `this family rotates whole heads, of ${dHead}`);
  const rows = shapes.get("token_embd.weight")?.[0];
  if (rows === undefined) throw missing(label, "tensor token_embd.weight (and the file none of that name)");
  const has = (name: string) => shapes.has(name);
  const fixed = { layers: size("num_hidden_layers"), dModel: size("hidden_size"), heads, dHead, has };
  return {
    vocab_size: rows,
    head_dim: dHead,
    num_key_value_heads: config.num_key_value_heads ?? heads,
    rope_theta: config.rope_theta ?? DEFAULT_THETA,
    ...(architecture.partialRope && { partial_rotary_factor: rotary / dHead }),
    tie_word_embeddings: !has("output.weight"),
    attention_bias: has("blk.0.attn_q.bias"),
    mlp_bias: has("blk.0.ffn_down.bias"),
    ...architecture.fixed?.(fixed),
  };
}

function tokensOf({ metadata }: GgufFacts): Record<string, GgufValue> {
  const ids: Record<string, GgufValue> = {};
  for (const name of ["bos", "eos"]) {
    const id = metadata.get(`tokenizer.ggml.${name}_token_id`);
    if (id !== undefined) ids[`${name}_token_id`] = id;
  }
  return ids;
}
