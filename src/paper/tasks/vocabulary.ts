/**
 * Vocabularies of models that are trained here: a list of tokens, whose place is their id, kept as `vocab.json`.
 *
 * In a vocabulary of words a token carries what is written after it: `2+`, `5->`, `seven` with the line break. An example then
 * costs a token for each input and one for its answer. In one of characters every character is a token. Either way a lone
 * line break is the beginning of a prompt.
 */
import * as s from "../../schema/schema.ts";
import { PaperError } from "../errors.ts";
import { FAMILY, type TaskFamily } from "./family.ts";

/** Begins a prompt. */
export const LINE_BREAK = "\n";

/** What the tokens of a vocabulary are. */
export const TOKEN_FORMS = ["words", "characters"] as const;

/** Whether a token is a word or a character. */
export type TokenForm = (typeof TOKEN_FORMS)[number];

const TOKENS = s.list("tokens", s.text);
const INPUTS = s.list("inputs", s.text);
const FORM = s.oneOf<TokenForm>("words", "characters");

/** Tokens and their ids, for models that are trained on tasks alone. */
export class Vocabulary {
  readonly #ids: ReadonlyMap<string, number>;
  readonly form: TokenForm;

  /** @throws PaperError `paper/vocabulary` for a token that occurs twice, or without a line break */
  constructor(readonly tokens: readonly string[]) {
    s.readArgument(TOKENS, tokens, "new Vocabulary", "tokens");
    this.#ids = new Map(tokens.map((token, id) => [token, id]));
    this.form = tokens.every((token) => [...token].length === 1) ? "characters" : "words";
    if (this.#ids.size < tokens.length || !this.#ids.has(LINE_BREAK))
      throw new PaperError(
        "paper/vocabulary",
        "A vocabulary needs a line break as a token of its own, and each token once.",
      );
  }

  /** The tokens that examples of some families consist of. */
  static of(families: readonly TaskFamily[], form: TokenForm = "words"): Vocabulary {
    s.readArgument(s.list("families of tasks", FAMILY), families, "Vocabulary.of", "families");
    s.readArgument(FORM, form, "Vocabulary.of", "form");
    const words = families.flatMap(({ inputs, tasks }) => [
      ...inputs.flatMap(({ values, after }) => values.map((value) => value + after)),
      ...tasks.flatMap(({ answers }) => answers.map((answer) => answer + LINE_BREAK)),
    ]);
    return new Vocabulary([
      ...new Set([LINE_BREAK, ...(form === "words" ? words : words.flatMap((word) => [...word]))]),
    ]);
  }

  /** Reads a parsed `vocab.json`: token to id. @throws PaperError `paper/vocabulary` */
  static fromJson(json: unknown): Vocabulary {
    const entries: [string, unknown][] = s.isRecord(json) ? Object.entries(json) : [];
    const tokens: string[] = [];
    for (const [token, id] of entries) if (s.isWhole(id, 0)) tokens[id] = token;
    if (entries.length === 0 || tokens.length !== entries.length || Object.keys(tokens).length !== tokens.length)
      throw new PaperError("paper/vocabulary", "A vocabulary must map each token to an id, from 0 on without a gap.");
    return new Vocabulary(tokens);
  }

  /** The contents of `vocab.json`. */
  toJson(): Record<string, number> {
    return Object.fromEntries(this.#ids);
  }

  /** The token that begins a prompt. */
  get bos(): number {
    return this.id(LINE_BREAK);
  }

  /** @throws PaperError `paper/vocabulary` for a token that is not there */
  id(token: string): number {
    const id = this.#ids.get(token);
    if (id !== undefined) return id;
    throw new PaperError(
      "paper/vocabulary",
      `The vocabulary of ${this.tokens.length} tokens has no ${s.describe(token)}: it was made for other tasks.`,
    );
  }

  /** Ids of inputs as they stand in a line, each with what follows it. */
  inputIds(family: TaskFamily, inputs: readonly string[]): number[] {
    const { inputs: slots } = s.readArgument(FAMILY, family, "Vocabulary.inputIds", "family");
    s.readArgument(INPUTS, inputs, "Vocabulary.inputIds", "inputs");
    return this.#split(inputs.map((input, index) => input + (slots[index]?.after ?? "")));
  }

  /** Ids of an answer and the line break after it. */
  answerIds(answer: string): number[] {
    s.readArgument(s.text, answer, "Vocabulary.answerIds", "answer");
    return this.#split([answer + LINE_BREAK]);
  }

  #split(words: readonly string[]): number[] {
    const tokens = this.form === "words" ? words : [...words.join("")];
    return tokens.map((token) => this.id(token));
  }
}

export const VOCABULARY = s.instance("a Vocabulary", Vocabulary);
