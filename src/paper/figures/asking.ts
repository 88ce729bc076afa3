/** What figures share: which families a model can be asked, in tokens of its vocabulary or as text, and what it answers. */
import { fnv1a } from "../../fnv1a.ts";
import { PaperError } from "../errors.ts";
import { assertAskable, type Measured, type MeasureOptions, measurePrompts } from "../measure.ts";
import type { Prompt } from "../prompts.ts";
import type { Subject } from "../subjects.ts";
import { type FamilySet, familyNames, taskFamily } from "../tasks/index.ts";
import { type TokenForm, Vocabulary } from "../tasks/vocabulary.ts";

/** The series of bars that are none of the tasks', which gives their colour. */
export const OTHER = 4;

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
  assertAskable(model, vocabulary);
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

/** What the model thinks of each prompt's answers. */
export function ask(
  { model, vocabulary }: Subject,
  prompts: readonly Prompt[],
  signal: AbortSignal | undefined,
  options: Omit<MeasureOptions, "signal"> = {},
): Promise<Measured[]> {
  return measurePrompts(model, vocabulary, prompts, { ...options, ...(signal && { signal }) });
}

export const meanOf = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length;

/** The standard deviation. */
export function spreadOf(values: readonly number[]): number {
  const mean = meanOf(values);
  return Math.sqrt(meanOf(values.map((value) => (value - mean) ** 2)));
}
