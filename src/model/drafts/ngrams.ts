/**
 * How likely a token is by the n - 1 tokens before it, counted in texts. Longer contexts say more but are seen less often, so
 * each is interpolated with the next shorter one, by the rule of Witten and Bell (1991): a context that was seen c times, with
 * d different tokens after it, gives
 *
 *     P(token | context) = (count(context, token) + d P(token | shorter context)) / (c + d)
 *
 * The shortest context is empty, and behind it all tokens are equally likely. So no token is impossible.
 */
import * as s from "../../schema/schema.ts";

/** What an `NgramModel` is made of. */
export interface NgramOptions {
  /** Of the model whose drafts it is for. */
  vocabSize: number;
  /** Tokens of the longest n-gram; 6 unless told. */
  order?: number;
}

export const NGRAM_OPTIONS = s.object<NgramOptions>("the options of NgramModel", {
  vocabSize: s.required(s.wholeFrom(1)),
  order: s.wholeFrom(1),
});

const TEXTS = s.list("lists of token ids", s.list("token ids", s.wholeFrom(0)));

/** What followed a context. */
interface Followers {
  total: number;
  readonly counts: Map<number, number>;
}

/** How often tokens follow tokens in some texts: what `superposedDecode` weighs its drafts by. */
export class NgramModel {
  readonly vocabSize: number;
  readonly order: number;
  readonly #contexts = new Map<string, Followers>();

  /** Counts n-grams within each text, a list of token ids. */
  constructor(texts: readonly s.NumberList[], options: NgramOptions) {
    const { vocabSize, order = 6 } = s.readOptions(NGRAM_OPTIONS, options, "NgramModel");
    this.vocabSize = vocabSize;
    this.order = order;
    for (const ids of s.readArgument(TEXTS, texts, "NgramModel", "texts")) this.#count(ids);
  }

  #count(ids: readonly number[]): void {
    for (const [at, token] of ids.entries()) {
      for (let length = 0; length < this.order && length <= at; length++) {
        const context = keyOf(ids.slice(at - length, at));
        const followers = this.#contexts.get(context) ?? { total: 0, counts: new Map() };
        followers.total += 1;
        followers.counts.set(token, (followers.counts.get(token) ?? 0) + 1);
        this.#contexts.set(context, followers);
      }
    }
  }

  /** P(token | the last `order` - 1 tokens of `before`). */
  probability(before: readonly number[], token: number): number {
    let probability = 1 / this.vocabSize;
    for (let length = 0; length < this.order && length <= before.length; length++) {
      const followers = this.#contexts.get(keyOf(before.slice(before.length - length)));
      if (!followers) break;
      const { total, counts } = followers;
      probability = ((counts.get(token) ?? 0) + counts.size * probability) / (total + counts.size);
    }
    return probability;
  }
}

const keyOf = (ids: readonly number[]) => ids.join(" ");
