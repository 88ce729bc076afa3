/** The families of tasks, by name: small ones for models with a vocabulary of words, and the paper's for models with a tokenizer. */
import * as s from "../../schema/schema.ts";
import { PaperError } from "../errors.ts";
import { arithmetic } from "./arithmetic.ts";
import { countries, worldCountries } from "./countries.ts";
import type { TaskFamily } from "./family.ts";
import { numberWords } from "./number-words.ts";
import { biasAdd, plus } from "./plus.ts";
import { retrieval } from "./retrieval.ts";
import { englishWords, letterWords } from "./words.ts";

/** Operands of the paper's prompts. */
const TWO_DIGITS = { low: 10, high: 99 };

/** Each with the families that a model from scratch learns, and that a pretrained one is asked. */
const FAMILIES = {
  small: {
    "number-words": () => numberWords(),
    countries,
    arithmetic: () => arithmetic(),
    words: () => letterWords(),
    plus,
    retrieval: () => retrieval(),
  },
  "from-scratch": {
    retrieval: () => retrieval({ length: 8, symbols: [...LETTERS, ...LETTERS.toUpperCase()], isDistinct: true }),
    plus,
    "bias-add": biasAdd,
  },
  pretrained: {
    "number-words": () => numberWords(TWO_DIGITS),
    countries: worldCountries,
    arithmetic: () => arithmetic(TWO_DIGITS),
    words: englishWords,
  },
} satisfies Record<string, Record<string, () => TaskFamily>>;

const LETTERS = "abcdefghijklmnopqrstuvwxyz";

/** `small`: of this project's presets; `from-scratch`: of the paper's section 4; `pretrained`: of its figures 1 and 2. */
export type FamilySet = keyof typeof FAMILIES;

export const FAMILY_SETS = Object.keys(FAMILIES) as FamilySet[];

const SET = s.oneOf(...FAMILY_SETS);

/** The families of a set by name, in the order of the paper. */
export function familyNames(set: FamilySet = "small"): string[] {
  return Object.keys(FAMILIES[s.readArgument(SET, set, "familyNames", "set")]);
}

/** A family by name. @throws PaperError `paper/task` */
export function taskFamily(name: string, set: FamilySet = "small"): TaskFamily {
  s.readArgument(s.text, name, "taskFamily", "name");
  const families: Record<string, () => TaskFamily> = FAMILIES[s.readArgument(SET, set, "taskFamily", "set")];
  if (Object.hasOwn(families, name)) return (families[name] as () => TaskFamily)();
  throw new PaperError("paper/task", `There is no family "${name}" in "${set}": ${familyNames(set).join(", ")}.`);
}
