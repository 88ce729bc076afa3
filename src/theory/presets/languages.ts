/** Preset `languages`: the sum of two numbers, in digits or in words of a language. Data: npm package n2words. */
import { toCardinal as german } from "n2words/de-DE";
import { toCardinal as english } from "n2words/en-US";
import { toCardinal as spanish } from "n2words/es-ES";
import { toCardinal as french } from "n2words/fr-FR";
import { toCardinal as italian } from "n2words/it-IT";
import type { TaskDefinition } from "../definition.ts";
import { TheoryError } from "../errors.ts";
import { numbers } from "./numbers.ts";

const LANGUAGES: Record<string, (value: number) => string> = { english, french, german, italian, spanish };

/** Operands run from `low` to `high`; one task for digits and one for each language. */
export function languages({
  low = 1,
  high = 6,
  names = ["english", "french", "spanish"],
}: {
  low?: number;
  high?: number;
  names?: string[];
} = {}): TaskDefinition {
  const operands = numbers(low, high);
  const sums = numbers(2 * low, 2 * high);
  const tables = names.map((name) => {
    const toWords = LANGUAGES[name];
    if (toWords !== undefined)
      return { name, table: Object.fromEntries(sums.map((sum) => [sum, toWords(Number(sum))])) };
    const known = Object.keys(LANGUAGES).join(", ");
    throw new TheoryError("theory/definition", `no number words for "${name}"; languages are ${known}`);
  });
  const words = tables.flatMap(({ table }) => Object.values(table));
  return {
    name: "languages",
    description: `a sum in digits, ${names.join(", ")}`,
    vocabulary: [...new Set([...operands, ...sums, ...words])],
    slots: [{ name: "a", tokens: operands }, { name: "b", tokens: operands }, { name: "y" }],
    template: "{a}+{b}->{y}",
    sum: { operands: ["a", "b"] },
    tasks: [
      { name: "digits", source: "sum", map: "identity" },
      ...tables.map(({ name, table }) => ({ name, source: "sum" as const, map: { table } })),
    ],
  };
}
