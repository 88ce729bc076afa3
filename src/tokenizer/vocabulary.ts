/** What the four kinds of model share: a vocabulary, byte tokens, and words that none of their tokens can spell. */
import { InputError } from "../errors.ts";
import { isId, isObject, type Part, unsupported } from "./parts.ts";

/** Turns the words of a text into token ids. */
export interface Model {
  readonly vocabulary: Vocabulary;
  tokenize(word: string): readonly number[];
}

/** Tokens and their ids. */
export interface Vocabulary {
  /** How many tokens there are. Ids may go beyond. */
  readonly size: number;
  readonly idOf: ReadonlyMap<string, number>;
  readonly tokenOf: ReadonlyMap<number, string>;
}

/** The `vocab` of a model that lists tokens with their ids. */
export function readVocabulary(part: Part): Vocabulary {
  const { vocab } = part.config;
  if (!isObject(vocab)) throw part.wrong("vocab", "an object of tokens and their ids");
  const idOf = new Map<string, number>();
  const tokenOf = new Map<number, string>();
  for (const [token, id] of Object.entries(vocab)) {
    if (!isId(id)) throw part.wrong("vocab", `an object of tokens and their ids (${JSON.stringify(token)} has ${id})`);
    const other = tokenOf.get(id);
    if (other !== undefined) {
      throw unsupported(`one id, ${id}, for the tokens ${JSON.stringify(other)} and ${JSON.stringify(token)}`);
    }
    idOf.set(token, id);
    tokenOf.set(id, token);
  }
  return { size: idOf.size, idOf, tokenOf };
}

const utf8 = new TextEncoder();

/** The ids of the byte tokens (`<0xE2>`) that spell a text, or undefined when one of them is missing. */
export function byteTokens(text: string, { idOf }: Vocabulary): number[] | undefined {
  const ids: number[] = [];
  for (const byte of utf8.encode(text)) {
    const id = idOf.get(`<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`);
    if (id === undefined) return undefined;
    ids.push(id);
  }
  return ids;
}

/** The error for text that has no token, where there is no token for unknown text either. */
export function noToken(text: string, unknown: string | undefined): InputError {
  const why =
    unknown === undefined ? "it has no unk_token" : `its unk_token ${JSON.stringify(unknown)} is not in the vocabulary`;
  return new InputError(
    "tokenizer/unknown-text",
    `This tokenizer has no token for ${JSON.stringify(text.slice(0, 60))}, and ${why}. Use other text, or give token ids.`,
  );
}

/** The id of `unk_token`, or the error for `text`. */
export function unknownId(text: string, unknown: string | undefined, { idOf }: Vocabulary): number {
  const id = unknown === undefined ? undefined : idOf.get(unknown);
  if (id === undefined) throw noToken(text, unknown);
  return id;
}
