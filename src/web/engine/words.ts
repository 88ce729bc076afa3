/**
 * Text and token ids of whatever model the page holds: by its tokenizer, by the vocabulary it was trained with (`vocab.json`
 * beside a model of `superlens/paper`), or by the words of the constructed transformer.
 */
import { InputError } from "../../errors.ts";
import type { HookedModel } from "../../hooks/index.ts";
import { type Blueprint, BOS_TOKEN, encodePrompt, parsePrompt } from "../../theory/index.ts";

export interface Words {
  /** @throws InputError for a text that the model has no tokens for. */
  encode(text: string): number[];
  /** A token as the page shows it. */
  label(id: number): string;
  isSpecial(id: number): boolean;
}

export function tokenizerWords(model: HookedModel): Words {
  const special = new Set(model.tokenizer?.eosIds);
  return {
    encode: (text) => model.toTokens(text),
    label: (id) => model.tokenizer?.tokenText(id) ?? `${id}`,
    isSpecial: (id) => special.has(id) || id === model.tokenizer?.bosId,
  };
}

/** The longest token that fits comes first: in the vocabularies of `superlens/paper` no token goes on after the end of another. */
export function vocabularyWords(vocabulary: Readonly<Record<string, number>>): Words {
  const tokens = Object.entries(vocabulary)
    .filter(([token]) => token !== "")
    .sort(([a], [b]) => b.length - a.length);
  const texts = new Map(tokens.map(([token, id]) => [id, token]));
  const encode = (text: string) => {
    const ids: number[] = [];
    for (let rest = text; rest.length > 0; ) {
      const found = tokens.find(([token]) => rest.startsWith(token));
      if (!found)
        throw unknownText(
          rest,
          tokens.map(([token]) => token),
        );
      ids.push(found[1]);
      rest = rest.slice(found[0].length);
    }
    return ids;
  };
  return { encode, label: (id) => texts.get(id) ?? `${id}`, isSpecial: () => false };
}

function unknownText(rest: string, tokens: readonly string[]): InputError {
  const some = tokens.slice(0, 12).map((token) => JSON.stringify(token));
  return new InputError(
    "input/no-token",
    `The model has no token at ${JSON.stringify(rest.slice(0, 20))}. Its ${tokens.length} tokens are ${some.join(" ")} and others; the Model view lists all.`,
  );
}

/** Prompts of the constructed transformer, as `superlens construct` reads them: examples, then a query. */
export function blueprintWords({ program, examples }: Blueprint): Words {
  const { vocabulary } = program.definition;
  return {
    encode: (text) => encodePrompt(program, examples, parsePrompt(program, text)),
    label: (id) => vocabulary[id] ?? BOS_TOKEN,
    isSpecial: (id) => id === program.bos,
  };
}
