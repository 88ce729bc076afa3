/** Preset `arithmetic`: two operands and a label that copies the first, copies the second, or adds them. */
import type { TaskDefinition } from "../definition.ts";
import { numbers } from "./numbers.ts";

/** Operands run from `low` to `high`, the vocabulary from `low` to `2 high` (the sums start at `2 low`). */
export function arithmetic({ low = 0, high = 9 }: { low?: number; high?: number } = {}): TaskDefinition {
  const operands = numbers(low, high);
  return {
    name: "arithmetic",
    description: "copy the first operand, copy the second, or add them",
    vocabulary: numbers(Math.min(low, 2 * low), 2 * high),
    slots: [{ name: "a", tokens: operands }, { name: "b", tokens: operands }, { name: "y" }],
    template: "{a}@{b}={y}",
    sum: { operands: ["a", "b"] },
    tasks: [
      { name: "copy a", source: { slot: "a" }, map: "identity" },
      { name: "copy b", source: { slot: "b" }, map: "identity" },
      { name: "a + b", source: "sum", map: "identity" },
    ],
  };
}
