/** Tokenizers of the fixtures as metadata of a GGUF file. */
import type { Pairs } from "../../support/gguf.ts";
import { readFixture } from "../../tokenizer/fixtures.ts";

export interface TokenizerJson {
  added_tokens: { id: number; special: boolean }[];
  pre_tokenizer: unknown;
  model: { vocab: Record<string, number>; merges: (string | [string, string])[] };
}

/** Metadata of a fixture: its tokens in order, and their types. */
export async function vocabularyOf(name: string): Promise<{ json: TokenizerJson; pairs: Pairs }> {
  const json = await readFixture<TokenizerJson>(`${name}/tokenizer.json`);
  const tokens = Object.entries(json.model.vocab).sort(([, a], [, b]) => a - b);
  const special = new Set(json.added_tokens.map(({ id }) => id));
  const typeOf = (text: string, id: number) =>
    text === "<unk>" ? 2 : special.has(id) ? 3 : /^<0x..>$/.test(text) ? 6 : 1;
  const pairs = {
    "general.architecture": "llama",
    "tokenizer.ggml.tokens": tokens.map(([text]) => text),
    "tokenizer.ggml.token_type": tokens.map(([text, id]) => typeOf(text, id)),
  };
  return { json, pairs };
}

export const mergeText = (merge: string | [string, string]) => (typeof merge === "string" ? merge : merge.join(" "));

/** A byte-level vocabulary in the words of GGUF. */
export async function byteLevelPairs(pre: string): Promise<Pairs> {
  const { json, pairs } = await vocabularyOf("byte-level");
  const merges = json.model.merges.map(mergeText);
  return { ...pairs, "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": pre, "tokenizer.ggml.merges": merges };
}
