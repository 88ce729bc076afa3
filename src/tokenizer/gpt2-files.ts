/**
 * GPT-2's built-in tokenizer as the files of Hugging Face, for a model that is saved: `tokenizer.json` with vocabulary and merges.
 * Each token of several bytes is made by one merge, of the two tokens that the merges before it make of its bytes.
 */
import { spellBytes } from "./bytes.ts";
import { END_OF_TEXT, END_OF_TEXT_ID, GPT2_SPECIAL_TOKENS, gpt2Bytes, usesGpt2Vocabulary } from "./gpt2.ts";

/** Files by name; none for a model whose vocabulary is another. */
export async function gpt2Files(model: { family: string; vocabSize: number }): Promise<Record<string, unknown>> {
  if (!usesGpt2Vocabulary(model.family, model.vocabSize)) return {};
  const bytesOf = await gpt2Bytes();
  const pieces = Array.from({ length: END_OF_TEXT_ID }, (_, id) => spellBytes(bytesOf(id)));
  return {
    "tokenizer.json": tokenizerJson(pieces),
    "tokenizer_config.json": { ...GPT2_SPECIAL_TOKENS, add_prefix_space: false, tokenizer_class: "GPT2Tokenizer" },
  };
}

function tokenizerJson(pieces: readonly string[]): unknown {
  const ids = new Map(pieces.map((piece, id) => [piece, id]));
  const several = pieces.filter((piece) => piece.length > 1);
  const bytes = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };
  const plain = { single_word: false, lstrip: false, rstrip: false, normalized: false };
  return {
    version: "1.0",
    added_tokens: [{ id: END_OF_TEXT_ID, content: END_OF_TEXT, special: true, ...plain }],
    normalizer: null,
    pre_tokenizer: bytes,
    post_processor: { ...bytes, trim_offsets: false },
    decoder: bytes,
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: "",
      end_of_word_suffix: "",
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: Object.fromEntries([...ids, [END_OF_TEXT, END_OF_TEXT_ID]]),
      merges: several.map((piece) => lastMerge(piece, ids)),
    },
  };
}

/** The two tokens that a token is made of. A merge's rank is the id of what it makes. */
function lastMerge(piece: string, ids: ReadonlyMap<string, number>): [string, string] {
  const own = ids.get(piece) as number;
  let parts = [...piece];
  while (parts.length > 2) {
    const made = parts.slice(1).map((part, i) => ids.get(`${parts[i]}${part}`) ?? own);
    const best = made.indexOf(Math.min(...made));
    parts = [...parts.slice(0, best), `${parts[best]}${parts[best + 1]}`, ...parts.slice(best + 2)];
  }
  return parts as [string, string];
}
