/**
 * Shapes that benchmarks run without a download: a `config.json` each, which the ordinary families read. The weights are
 * random (`random-source.ts`), since how long a matmul takes does not depend on what is in it.
 */
const GPT2 = {
  model_type: "gpt2",
  n_positions: 1024,
  activation_function: "gelu_new",
  layer_norm_epsilon: 1e-5,
};

/** A shape's `config.json`, as Hugging Face writes it. */
export const SHAPES = {
  /** GPT-2 small: 124 million parameters, 498 MB. */
  gpt2: { ...GPT2, n_layer: 12, n_embd: 768, n_head: 12, vocab_size: 50257 },
  /** The same parts in a twentieth of the size, for adapters on which GPT-2 takes minutes. */
  mini: { ...GPT2, n_layer: 4, n_embd: 256, n_head: 4, vocab_size: 8192 },
  /** Seconds on any adapter: for tests. */
  tiny: { ...GPT2, n_layer: 2, n_embd: 64, n_head: 2, vocab_size: 512 },
  /** As large as `mini`, with what Llama does otherwise: RMSNorm, RoPE, a gated MLP, two heads to each key and value. */
  "llama-mini": {
    model_type: "llama",
    num_hidden_layers: 4,
    hidden_size: 256,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    intermediate_size: 688,
    vocab_size: 8192,
    max_position_embeddings: 1024,
    rms_norm_eps: 1e-5,
    rope_theta: 10000,
    tie_word_embeddings: true,
  },
} as const;

/** A model shape by name, for benchmarks without a checkpoint. */
export type ShapeName = keyof typeof SHAPES;

/** The shapes that a benchmark knows by name. */
export const SHAPE_NAMES = Object.keys(SHAPES) as ShapeName[];
