/** The models that `tokenizer.json` may name, and the two short ones: WordLevel and WordPiece. */
import { bpe } from "./bpe.ts";
import { isObject, type JsonObject, type Makers, make, type Part } from "./parts.ts";
import { unigram } from "./unigram.ts";
import { type Model, readVocabulary, unknownId } from "./vocabulary.ts";

const MODELS: Makers<Model> = { BPE: bpe, Unigram: unigram, WordLevel: wordLevel, WordPiece: wordPiece };

/** Makes a model of its description in `tokenizer.json`. Old files leave the type of BPE and Unigram out. */
export function modelOf(config: JsonObject): Model {
  if (config.type !== undefined) return make("model", MODELS, config);
  if (isObject(config.vocab) && Array.isArray(config.merges)) return make("model", MODELS, { ...config, type: "BPE" });
  return make("model", MODELS, Array.isArray(config.vocab) ? { ...config, type: "Unigram" } : config);
}

/** Every word is a token, or the unknown one. */
function wordLevel(part: Part): Model {
  const vocabulary = readVocabulary(part);
  const unknown = part.string("unk_token");
  return {
    vocabulary,
    tokenize: (word) => [vocabulary.idOf.get(word) ?? unknownId(word, unknown, vocabulary)],
  };
}

/** A word is cut from the left into the longest tokens; when some part of it has none, the word is unknown. */
function wordPiece(part: Part): Model {
  const vocabulary = readVocabulary(part);
  const unknown = part.string("unk_token");
  const prefix = part.string("continuing_subword_prefix");
  const longestWord = part.count("max_input_chars_per_word");

  const pieces = (word: string): number[] | undefined => {
    const characters = [...word];
    if (characters.length > longestWord) return undefined;
    const ids: number[] = [];
    for (let start = 0; start < characters.length; ) {
      let id: number | undefined;
      let end = characters.length;
      for (; end > start; end--) {
        id = vocabulary.idOf.get((start > 0 ? prefix : "") + characters.slice(start, end).join(""));
        if (id !== undefined) break;
      }
      if (id === undefined) return undefined;
      ids.push(id);
      start = end;
    }
    return ids;
  };
  return { vocabulary, tokenize: (word) => pieces(word) ?? [unknownId(word, unknown, vocabulary)] };
}
