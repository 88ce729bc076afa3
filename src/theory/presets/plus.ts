/** Preset `plus`: x -> x + c modulo the number of tokens, one task for each c. */
import type { TaskDefinition } from "../definition.ts";
import { numbers } from "./numbers.ts";

/** Tokens 0 .. `modulo - 1`. */
export function plus({
  modulo = 20,
  constants = [2, 5, 9],
}: {
  modulo?: number;
  constants?: number[];
} = {}): TaskDefinition {
  return {
    name: "plus",
    description: `add ${constants.join(", ")} modulo ${modulo}`,
    vocabulary: numbers(0, modulo - 1),
    slots: [{ name: "x" }, { name: "y" }],
    template: "{x}->{y}",
    tasks: constants.map((constant) => ({
      name: `plus ${constant}`,
      source: { slot: "x" },
      map: { plus: constant, modulo },
    })),
  };
}
