/** A tokenizer of a few pieces for a model of random weights, so that prompts of documented scripts fall into tokens. */
export function pieceTokenizer(pieces: readonly string[], vocabSize: number): object {
  const unknown = { special: true, normalized: false, single_word: false, lstrip: false, rstrip: false };
  return {
    version: "1.0",
    added_tokens: [{ id: 0, content: "<unk>", ...unknown }],
    normalizer: null,
    pre_tokenizer: null,
    post_processor: null,
    decoder: { type: "Fuse" },
    model: {
      type: "Unigram",
      unk_id: 0,
      byte_fallback: false,
      vocab: Array.from({ length: vocabSize }, (_, id) => [id === 0 ? "<unk>" : (pieces[id - 1] ?? `word${id}`), -1]),
    },
  };
}
