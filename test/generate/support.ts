/** A tokenizer whose text can be read off the ids, and what generations give when they are run to their end. */

import type { GenerateStep } from "../../src/model/generate.ts";
import { ChatTemplates } from "../../src/tokenizer/chat.ts";
import { onlyToken } from "../../src/tokenizer/ids.ts";
import type { Tokenizer } from "../../src/tokenizer/index.ts";

/** Ids 0..94 are the printable characters from " " on; 95 is the end token, which is special. */
export const LETTERS: Tokenizer = {
  kind: "huggingface",
  vocabSize: 96,
  bosId: 95,
  addsBos: false,
  eosIds: [95],
  encode: (text, { addBos } = {}) => [...(addBos ? [95] : []), ...Array.from(text, (c) => c.charCodeAt(0) - 32)],
  decode: (ids, { skipSpecial } = {}) =>
    ids.map((id) => (id === 95 && skipSpecial ? "" : LETTERS.tokenText(id))).join(""),
  singleToken: (text) => onlyToken(text, LETTERS.encode(text), LETTERS.tokenText),
  tokenText: (id) => (id === 95 ? "<end>" : String.fromCharCode(id + 32)),
  applyChatTemplate: (messages, options = {}) =>
    new ChatTemplates({ config: {}, specialTokens: {} }).render(messages, options),
  stream: (options) => ({ push: (id) => LETTERS.decode([id], options), end: () => "" }),
};

/** The tokens and the text of each sequence, and how it ended. */
export interface Generated {
  tokens: number[][];
  texts: string[];
  finished: GenerateStep["finished"];
  steps: GenerateStep[];
}

export async function collect(generation: AsyncIterable<GenerateStep>): Promise<Generated> {
  const steps: GenerateStep[] = [];
  for await (const step of generation) steps.push(step);
  const batch = steps[0]?.tokens.length ?? 0;
  const each = <T>(value: (sequence: number) => T) => Array.from({ length: batch }, (_, sequence) => value(sequence));
  return {
    steps,
    tokens: each((sequence) => steps.map(({ tokens }) => tokens[sequence]).filter((token) => token !== undefined)),
    texts: each((sequence) => steps.map(({ texts }) => texts[sequence]).join("")),
    finished: steps.at(-1)?.finished ?? [],
  };
}
