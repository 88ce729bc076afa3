/** `2+5->seven`: a sum in digits, English, French or Spanish. */
import { toCardinal as english } from "n2words/en-US";
import { toCardinal as unaccented } from "n2words/es-ES";
import { toCardinal as french } from "n2words/fr-FR";
import { lookUp, numbers, sumOf, type TaskFamily } from "./family.ts";

/** The package leaves the accent out of sixteen, and of it alone. */
const spanish = (value: number) => unaccented(value).replace("dieciseis", "dieciséis");

const LANGUAGES: Readonly<Record<string, (value: number) => string>> = { digits: String, english, french, spanish };

/** Operands run from `low` to `high`: 0 to 9 unless told, in the paper 10 to 99. */
export function numberWords({ low = 0, high = 9 } = {}): TaskFamily {
  const operands = numbers(low, high);
  const sums = numbers(2 * low, 2 * high);
  return {
    name: "number-words",
    inputs: [
      { values: operands, after: "+" },
      { values: operands, after: "->" },
    ],
    tasks: Object.entries(LANGUAGES).map(([name, toWords]) =>
      lookUp(name, new Map(sums.map((sum) => [sum, toWords(Number(sum))])), sumOf),
    ),
  };
}
