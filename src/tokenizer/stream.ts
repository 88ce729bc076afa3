/**
 * Incremental detokenization for any `decode`. A token's text depends on its neighbours (a first space may be stripped,
 * bytes join into characters), so a token cannot be decoded alone. Instead the tokens since the last two emissions are
 * decoded with and without the newest ones, and the difference is the new text. While it ends in U+FFFD a character may
 * be unfinished and nothing is emitted. The window keeps the cost of a push independent of the length of the text.
 */
import type { TokenStream } from "./types.ts";

const REPLACEMENT = "\uFFFD";

/**
 * A stream over `decode`, which must be a function of the ids alone.
 * @param isOpen whether the text of a token may still change with the tokens after it
 */
export function streamOf(
  decode: (ids: readonly number[]) => string,
  isOpen: (id: number) => boolean = () => false,
): TokenStream {
  let context: number[] = [];
  let pending: number[] = [];

  const newText = () => decode([...context, ...pending]).slice(decode(context).length);
  return {
    push(id) {
      pending.push(id);
      const text = newText();
      // A window with no text of its own (skipped specials) would make the next token look like the first.
      if (text === "" || text.endsWith(REPLACEMENT) || isOpen(id)) return "";
      context = pending;
      pending = [];
      return text;
    },
    end() {
      const text = newText();
      context = [];
      pending = [];
      return text;
    },
  };
}
