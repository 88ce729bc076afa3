/**
 * Added tokens are found in the text before the model sees it: those that are not `normalized` in the text as it is, the
 * others in the text after normalization. What lies between goes on to the pre-tokenizer.
 * As https://github.com/huggingface/tokenizers/blob/main/tokenizers/src/tokenizer/added_vocabulary.rs does it.
 */
import type { Normalizer } from "./normalizers.ts";
import { isObject, Part, unsupported } from "./parts.ts";
import type { Piece } from "./pretokenizers.ts";
import { Trie } from "./trie.ts";
import { WORD_CHARACTERS } from "./unicode.ts";
import type { Vocabulary } from "./vocabulary.ts";

/** One of `added_tokens`. */
export interface AddedToken {
  content: string;
  /** Not inside a word. */
  singleWord: boolean;
  /** Takes the white space before it along. */
  lstrip: boolean;
  /** Takes the white space after it along. */
  rstrip: boolean;
  normalized: boolean;
  special: boolean;
}

/** Reads one of `added_tokens`; absent settings are an error, as for the Rust library. */
export function addedTokenOf(config: unknown): AddedToken {
  const part = new Part("added_tokens", { type: "entry", ...(isObject(config) && config) });
  return {
    content: part.string("content"),
    singleWord: part.boolean("single_word"),
    lstrip: part.boolean("lstrip"),
    rstrip: part.boolean("rstrip"),
    normalized: part.boolean("normalized"),
    special: part.boolean("special"),
  };
}

const ENDS_IN_WORD = new RegExp(`[${WORD_CHARACTERS}]$`, "u");
const STARTS_WITH_WORD = new RegExp(`^[${WORD_CHARACTERS}]`, "u");

export class AddedTokens {
  /** The largest id of an added token, or -1. */
  largestId = -1;
  private readonly ids = new Map<string, number>();
  private readonly tokens = new Map<number, AddedToken>();
  private readonly texts = new Map<number, string>();
  private readonly inText = new Trie();
  private readonly inNormalized = new Trie();

  /** The ids are the vocabulary's, or the next free ones: those in the file are not looked at, as in the Rust library. */
  constructor(
    tokens: readonly AddedToken[],
    vocabulary: Vocabulary,
    private readonly normalize: Normalizer,
  ) {
    for (const token of tokens) {
      if (token.content === "") continue;
      if (this.ids.has(token.content))
        throw unsupported(`the added token ${JSON.stringify(token.content)}, listed twice,`);
      const id = vocabulary.idOf.get(token.content) ?? Math.max(vocabulary.size, this.largestId + 1);
      this.ids.set(token.content, id);
      this.tokens.set(id, token);
      this.largestId = Math.max(this.largestId, id);
    }
    for (const [id, token] of this.tokens) this.addText(id, token);
  }

  idOf(token: string): number | undefined {
    return this.ids.get(token);
  }

  /** The token's text: as it stands in normalized text, when it is looked for there. */
  tokenOf(id: number): string | undefined {
    return this.texts.get(id);
  }

  /** The token's text as the file lists it. */
  contentOf(id: number): string | undefined {
    return this.tokens.get(id)?.content;
  }

  /** Whether a special token has this content. */
  isSpecial(text: string): boolean {
    const id = this.ids.get(text);
    return id !== undefined && this.tokens.get(id)?.special === true;
  }

  /** The text as ids of added tokens and normalized pieces between them. */
  split(text: string): (Piece | number)[] {
    return this.extract({ text, isFirst: true }, this.inText).flatMap((item) => {
      if (typeof item === "number") return [item];
      return this.extract({ ...item, text: this.normalize(item.text) }, this.inNormalized);
    });
  }

  private addText(id: number, { content, normalized }: AddedToken): void {
    const text = normalized ? this.normalize(content) : content;
    const name = `the added token ${JSON.stringify(content)}, of which the normalizer`;
    if (text === "") throw unsupported(`${name} leaves nothing,`);
    const trie = normalized ? this.inNormalized : this.inText;
    trie.each(text, 0, (end, other) => {
      if (end === text.length)
        throw unsupported(`${name} makes the same as of ${JSON.stringify(this.tokens.get(other)?.content)},`);
    });
    this.texts.set(id, text);
    trie.add(text, id);
  }

  private extract(piece: Piece, trie: Trie): (Piece | number)[] {
    const { text } = piece;
    const items: (Piece | number)[] = [];
    let done = 0;
    const addRest = (end: number) => {
      if (end > done) items.push({ text: text.slice(done, end), isFirst: piece.isFirst && done === 0 });
    };
    for (const match of matchesOf(trie, text)) {
      const token = this.tokens.get(match.id) as AddedToken;
      if (token.singleWord && isInsideWord(text, match)) continue;
      const start = token.lstrip ? match.start - spaceBefore(text, match.start) : match.start;
      addRest(start);
      items.push(match.id);
      done = match.end + (token.rstrip ? spaceAfter(text, match.end) : 0);
    }
    addRest(text.length);
    return items;
  }
}

interface Match {
  start: number;
  end: number;
  id: number;
}

/** From left to right, the longest token at each place; tokens do not overlap. */
function* matchesOf(trie: Trie, text: string): Generator<Match> {
  for (let start = 0; start < text.length; ) {
    let match: Match | undefined;
    trie.each(text, start, (end, id) => {
      match = { start, end, id };
    });
    if (match) yield match;
    start = (match as Match | undefined)?.end ?? start + 1;
  }
}

function isInsideWord(text: string, { start, end }: Match): boolean {
  return (
    ENDS_IN_WORD.test(text.slice(Math.max(0, start - 2), start)) || STARTS_WITH_WORD.test(text.slice(end, end + 2))
  );
}

function spaceBefore(text: string, end: number): number {
  let start = end;
  while (start > 0 && /\p{White_Space}/u.test(text.charAt(start - 1))) start--;
  return end - start;
}

function spaceAfter(text: string, start: number): number {
  let end = start;
  while (end < text.length && /\p{White_Space}/u.test(text.charAt(end))) end++;
  return end - start;
}
