/** What figures share: which families a model can be asked, in tokens of its vocabulary or as text, and what it answers. */
import { fnv1a } from "../../fnv1a.ts";
import { answerProbabilities } from "../answers.ts";
import { PaperError } from "../errors.ts";
import type { Measured } from "../measure.ts";
import { type Prompt, promptIds, promptText } from "../prompts.ts";
import type { Subject } from "../subjects.ts";
import { type FamilySet, familyNames, taskFamily } from "../tasks/index.ts";
import { type TokenForm, Vocabulary } from "../tasks/vocabulary.ts";

/** What a prompt showed. */
export interface Answered {
  readonly probabilities: number[];
  /** Undefined where an answer has several tokens. */
  readonly ranks: number[] | undefined;
  readonly other: number;
  readonly entropy: number;
  /** The probability of the likeliest token with which no task's answer begins. */
  readonly likeliestOther: number;
  /** Whether an answer begins another one, so that their probabilities overlap. */
  readonly isOverlapping: boolean;
}

export interface SubjectFacts {
  readonly label: string;
  readonly layers: number;
  readonly heads: number;
  readonly width: number;
  /** Tells models of one name and shape apart, by the gains of their last norm. */
  readonly weights: string;
}

export async function factsOf({ model }: Subject): Promise<SubjectFacts> {
  const { nLayers, nHeads, dModel } = model.spec;
  const name = model.weightNames().find((weight) => weight === "ln_final.w");
  const gains = name ? (await model.weight(name)).data.join() : "";
  return { label: model.label, layers: nLayers, heads: nHeads, width: dModel, weights: fnv1a(gains).toString(16) };
}

export const setOf = ({ vocabulary }: Subject): FamilySet => (vocabulary ? "small" : "pretrained");

/** Names of the families that the model has words for. @throws PaperError `paper/vocabulary`, `paper/no-tokenizer` */
export function familiesOf(subject: Subject): string[] {
  const { vocabulary, model } = subject;
  if (!vocabulary && !model.tokenizer)
    throw new PaperError(
      "paper/no-tokenizer",
      `${model.label} has neither a tokenizer nor a vocab.json of one token a word: it cannot be asked. Use a model that has one.`,
    );
  const names = familyNames(setOf(subject));
  if (!vocabulary) return names;
  const known = new Set(vocabulary.tokens);
  const isKnown = (name: string) =>
    Vocabulary.of([taskFamily(name)], vocabulary.form).tokens.every((token) => known.has(token));
  const families = withoutParts(names.filter(isKnown), vocabulary.form);
  if (families.length === 0)
    throw new PaperError(
      "paper/vocabulary",
      `${model.label} has words for none of the families ${names.join(", ")}. Use a model that was trained on one of them.`,
    );
  return families;
}

/** Without those whose lines are spelled with a part of the characters of another: the model may not have seen them. */
function withoutParts(names: readonly string[], form: TokenForm): string[] {
  const tokens = new Map(names.map((name) => [name, new Set(Vocabulary.of([taskFamily(name)], form).tokens)] as const));
  const isPart = (one: ReadonlySet<string>, other: ReadonlySet<string>) =>
    one.size < other.size && [...one].every((token) => other.has(token));
  return names.filter((name) => ![...tokens.values()].some((other) => isPart(tokens.get(name) as Set<string>, other)));
}

/** Runs prompts and gives what the model thinks of each one's answers. */
export async function ask(
  { model, vocabulary }: Subject,
  prompts: readonly Prompt[],
  signal: AbortSignal | undefined,
): Promise<Answered[]> {
  const asked = prompts.map((prompt) =>
    vocabulary
      ? { prompt: promptIds(vocabulary, prompt), answers: prompt.answers.map((answer) => vocabulary.answerIds(answer)) }
      : { prompt: promptText(prompt), answers: prompt.answers },
  );
  const found = await answerProbabilities(model, asked, signal ? { signal } : {});
  return found.map(({ answers, other, entropy, likeliestOther, prefixes }) => ({
    probabilities: answers.map(({ probability }) => probability),
    ranks: answers.every(({ tokens }) => tokens.length === 1) ? answers.map(({ rank }) => rank) : undefined,
    other,
    entropy,
    likeliestOther: likeliestOther?.probability ?? 0,
    isOverlapping: prefixes.length > 0,
  }));
}

export const measuredOf = (answered: readonly Answered[]): Measured[] =>
  answered.map(({ probabilities, ranks }) => ({ probabilities, ranks }));

export const meanOf = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length;
