/** `4@7=4`: the first operand, the second, or their sum. */
import { numbers, sumOf, type TaskFamily } from "./family.ts";

/** Operands run from `low` to `high`: 0 to 9 unless told, in the paper 10 to 99. */
export function arithmetic({ low = 0, high = 9 } = {}): TaskFamily {
  const operands = numbers(low, high);
  return {
    name: "arithmetic",
    inputs: [
      { values: operands, after: "@" },
      { values: operands, after: "=" },
    ],
    tasks: [
      { name: "copy a", answers: operands, answer: ([a = ""]) => a },
      { name: "copy b", answers: operands, answer: ([, b = ""]) => b },
      { name: "a + b", answers: numbers(2 * low, 2 * high), answer: sumOf },
    ],
  };
}
