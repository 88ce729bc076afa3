/**
 * Unigram: every token has a score (a log-probability), and a word is cut into the tokens of the highest sum of scores,
 * found from left to right. As https://github.com/huggingface/tokenizers/blob/main/tokenizers/src/models/unigram does it.
 */
import { isId, type Part } from "./parts.ts";
import { Trie } from "./trie.ts";
import { byteTokens, type Model, noToken, type Vocabulary } from "./vocabulary.ts";

/** A character without a token scores so much less than the worst token. */
const UNKNOWN_PENALTY = 10;

interface Unigram {
  vocabulary: Vocabulary;
  trie: Trie;
  scores: number[];
  unknownScore: number;
  unknownId: number | undefined;
  usesBytes: boolean;
}

export function unigram(part: Part): Model {
  const entries = readScores(part);
  const scores = entries.map(([, score]) => score);
  const unknownId = (part.config.unk_id ?? undefined) as number | undefined;
  if (unknownId !== undefined && (!isId(unknownId) || unknownId >= entries.length)) {
    throw part.wrong("unk_id", `below ${entries.length}, the size of the vocabulary`);
  }
  const idOf = new Map(entries.map(([token], id) => [token, id]));
  const trie = new Trie();
  for (const [token, id] of idOf) trie.add(token, id);
  const model: Unigram = {
    vocabulary: { size: entries.length, idOf, tokenOf: new Map(entries.map(([token], id) => [id, token])) },
    trie,
    scores,
    unknownScore: scores.reduce((least, score) => Math.min(least, score), Number.POSITIVE_INFINITY) - UNKNOWN_PENALTY,
    unknownId,
    usesBytes: part.boolean("byte_fallback", false),
  };
  return {
    vocabulary: model.vocabulary,
    tokenize: (word) => bestPieces(model, word).flatMap((piece) => idsOf(model, piece)),
  };
}

function readScores(part: Part): [string, number][] {
  const entries = part.list("vocab");
  for (const entry of entries) {
    if (!Array.isArray(entry) || typeof entry[0] !== "string" || typeof entry[1] !== "number") {
      throw part.wrong("vocab", `a list of tokens with scores (one is ${JSON.stringify(entry)})`);
    }
  }
  if (entries.length === 0) throw part.wrong("vocab", "a list of tokens with scores");
  return entries as [string, number][];
}

/** The pieces of the best cut; neighbouring unknown characters are one piece. */
function bestPieces(model: Unigram, word: string): string[] {
  const { starts, ids } = bestPath(model, word);
  const pieces: string[] = [];
  for (let end = word.length, wasUnknown = false; end > 0; ) {
    const start = starts[end] as number;
    const piece = word.slice(start, end);
    const isUnknown = ids[end] === model.unknownId;
    if (isUnknown && wasUnknown) pieces.push(piece + pieces.pop());
    else pieces.push(piece);
    wasUnknown = isUnknown;
    end = start;
  }
  return pieces.reverse();
}

/** For each place in the word, where the last token of the best path to it starts, and which token that is. */
function bestPath(model: Unigram, word: string): { starts: Int32Array; ids: Int32Array } {
  const { trie, scores, unknownScore, unknownId } = model;
  const best = new Float64Array(word.length + 1);
  const starts = new Int32Array(word.length + 1).fill(-1);
  const ids = new Int32Array(word.length + 1);
  for (let start = 0; start < word.length; ) {
    const characterEnd = start + ((word.codePointAt(start) as number) > 0xffff ? 2 : 1);
    const scoreHere = best[start] as number;
    const isBetter = (end: number, score: number) => starts[end] === -1 || scoreHere + score > (best[end] as number);
    const offer = (end: number, id: number, score: number) => {
      if (!isBetter(end, score)) return;
      best[end] = scoreHere + score;
      starts[end] = start;
      ids[end] = id;
    };
    let hasCharacter = false;
    trie.each(word, start, (end, id) => {
      offer(end, id, scores[id] as number);
      hasCharacter ||= end === characterEnd;
    });
    if (!hasCharacter && isBetter(characterEnd, unknownScore)) {
      if (unknownId === undefined) throw noToken(word.slice(start, characterEnd), undefined);
      offer(characterEnd, unknownId, unknownScore);
    }
    start = characterEnd;
  }
  return { starts, ids };
}

function idsOf({ vocabulary, usesBytes, unknownId }: Unigram, piece: string): number[] {
  const id = vocabulary.idOf.get(piece);
  if (id !== undefined) return [id];
  const bytes = usesBytes ? byteTokens(piece, vocabulary) : undefined;
  if (bytes) return bytes;
  if (unknownId === undefined) throw noToken(piece, undefined);
  return [unknownId];
}
