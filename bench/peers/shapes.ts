/**
 * What is run: two models of GPT-2's kind, and the tokens they are given. `gpt2` is GPT-2 small. `mini` has the same parts in
 * a fiftieth of the size, for hosts where GPT-2 takes minutes.
 */
export type ShapeName = "mini" | "gpt2";

/** A `config.json` that superlens reads; peers take their sizes from it. */
export interface Gpt2Config {
  model_type: "gpt2";
  n_layer: number;
  n_embd: number;
  n_head: number;
  n_positions: number;
  vocab_size: number;
  activation_function: "gelu_new";
  layer_norm_epsilon: number;
}

const base = {
  model_type: "gpt2",
  n_positions: 1024,
  activation_function: "gelu_new",
  layer_norm_epsilon: 1e-5,
} as const;

export const SHAPES: Record<ShapeName, Gpt2Config> = {
  mini: { ...base, n_layer: 4, n_embd: 256, n_head: 4, vocab_size: 8192 },
  gpt2: { ...base, n_layer: 12, n_embd: 768, n_head: 12, vocab_size: 50257 },
};

/** Tokens of the prompt, and positions in the cache when decoding begins. */
export const PROMPT = 128;

/** Tokens decoded in one timed run, and the most that can be. */
export const STEPS = 8;

/** The prompt, and the first token that is decoded after it. */
export function promptIds(config: Gpt2Config): { prompt: number[]; next: number } {
  const ids = Array.from({ length: PROMPT + 1 }, (_, index) => (index * 7919 + 13) % config.vocab_size);
  return { prompt: ids.slice(0, PROMPT), next: ids[PROMPT] as number };
}
