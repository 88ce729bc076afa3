/** Preset `retrieval`: ret_i copies the i-th of several input symbols. */
import type { TaskDefinition } from "../definition.ts";

/** `inputs` symbols an example, drawn from `symbols`. */
export function retrieval({
  symbols = [..."abcdefghijklmnopqrstuvwxyz"],
  inputs = 4,
}: {
  symbols?: string[];
  inputs?: number;
} = {}): TaskDefinition {
  const names = Array.from({ length: inputs }, (_, i) => `x${i + 1}`);
  return {
    name: "retrieval",
    description: `copy one of ${inputs} symbols`,
    vocabulary: symbols,
    slots: [...names, "y"].map((name) => ({ name })),
    template: `${names.map((name) => `{${name}}`).join(" ")} -> {y}`,
    tasks: names.map((name, i) => ({ name: `ret_${i + 1}`, source: { slot: name }, map: "identity" })),
  };
}
