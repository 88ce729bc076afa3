/** `4@7=4`: the first operand, the second, or their sum. */
import { numbers, sumOf, type TaskFamily } from "./family.ts";

/** Operands run from `low` to `high`: 1 to 9 unless told, as in the reference runs (with 0, a sum is a copy); in the paper 10 to 99. */
export function arithmetic({ low = 1, high = 9 } = {}): TaskFamily {
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
