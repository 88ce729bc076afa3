/** Rules about ids that hold for every tokenizer: which ids may be asked for, what comes out, and where BOS goes. */
import { ConfigError, InputError } from "../errors.ts";

/** @throws InputError `tokenizer/id-out-of-range` unless `id` is an integer in 0..limit-1. */
export function checkId(id: number, limit: number): void {
  if (Number.isInteger(id) && id >= 0 && id < limit) return;
  throw new InputError(
    "tokenizer/id-out-of-range",
    `Token id ${id} is not in this vocabulary. Use whole numbers from 0 to ${limit - 1}.`,
  );
}

/**
 * `ids` with or without the beginning of a sequence in front, never with two.
 * @param ids the text's ids without an added beginning (they may have one that the text spells out)
 * @param beginning BOS, or all that stands in front of a text; empty when the tokenizer has no BOS
 */
export function withBos(ids: number[], wanted: boolean, beginning: readonly number[]): number[] {
  if (!wanted) return ids;
  if (beginning.length === 0) {
    throw new InputError(
      "tokenizer/no-bos",
      "addBos is true, but this tokenizer has no beginning-of-sequence token. Leave addBos out, or set it to false.",
    );
  }
  return beginning.every((id, index) => ids[index] === id) ? ids : [...beginning, ...ids];
}

/**
 * The ids, as they leave a tokenizer.
 * @throws ConfigError `tokenizer/broken` when one of them is not a whole number.
 */
export function wholeIds(ids: number[], text: string): number[] {
  const wrong = ids.findIndex((id) => !Number.isInteger(id) || id < 0);
  if (wrong < 0) return ids;
  throw new ConfigError(
    "tokenizer/broken",
    `The tokenizer gave ${ids[wrong]} as id ${wrong} of ${JSON.stringify(text.slice(0, 60))}. Give token ids instead of text.`,
  );
}

/**
 * The one id of a text. Tokenizers of SentencePiece's kind put a space before every text. Where that space is a token of its
 * own, it does not count; where it is part of the token (`" Lucy"` for `"Lucy"`), the token is that of another text.
 * @param ids the text's ids, without BOS and other tokens around it
 * @param isSame whether a token's text is the text
 * @throws InputError `tokenizer/not-one-token`, naming the tokens of the text.
 */
export function onlyToken(
  text: string,
  ids: readonly number[],
  tokenText: (id: number) => string,
  isSame: (shown: string) => boolean = (shown) => shown === text,
): number {
  const [first, second] = ids;
  if (first !== undefined && ids.length === 1) {
    if (isSame(tokenText(first))) return first;
    throw new InputError(
      "tokenizer/not-one-token",
      `${JSON.stringify(text)} is read as the token ${JSON.stringify(tokenText(first))}, which is another text. Give the token id ${first} if you mean that token, or another text.`,
    );
  }
  const isPrefixed = first !== undefined && second !== undefined && ids.length === 2 && tokenText(first) === " ";
  if (isPrefixed && isSame(tokenText(second))) return second;
  const shown = ids.slice(0, 8).map((token) => JSON.stringify(tokenText(token)));
  const pieces =
    ids.length === 0 ? "no tokens" : `${ids.length} tokens: ${shown.join(", ")}${ids.length > 8 ? " ..." : ""}`;
  throw new InputError(
    "tokenizer/not-one-token",
    `${JSON.stringify(text)} is ${pieces}. Give text that is one token (a space before or behind a word counts), or give a token id.`,
  );
}
