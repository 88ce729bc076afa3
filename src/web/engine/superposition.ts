/** The constructed transformer for the page: the mixture counted from the examples, and the one that the running model computes. */
import { InputError } from "../../errors.ts";
import { type Blueprint, type Prompt, parsePrompt, placesOf, setSpace } from "../../theory/index.ts";
import { type Look, look } from "../../theory/look.ts";
import { promptOfCounts } from "../../theory/sampling.ts";
import { seeded } from "../../theory/verify/random-tasks.ts";
import { current } from "./session.ts";

/** Which prompt, and what is changed in the run. */
export interface SuperpositionArgs {
  /** Examples of each task, in shuffled order; they must add up to what the model was built for. */
  readonly counts?: readonly number[];
  /** A prompt of one's own instead. */
  readonly text?: string;
  /** Chooses the examples that `counts` leaves open. */
  readonly seed: number;
  /** WEIGHT of each task at the last position, in place of the counted shares. */
  readonly weight?: readonly number[];
}

export async function superposition({ counts, text, seed, weight }: SuperpositionArgs): Promise<Look> {
  const { model, blueprint } = current();
  if (!blueprint)
    throw new InputError(
      "page/not-constructed",
      "This model was not constructed. Load the constructed transformer in the Model view.",
    );
  const prompt = text === undefined ? drawn(blueprint, counts ?? [], seed) : parsePrompt(blueprint.program, text);
  if (!weight) return look({ model, blueprint }, prompt);
  const edit = setSpace(blueprint, "WEIGHT", [placesOf(blueprint).last], [...weight]);
  return look({ model, blueprint }, prompt, [edit], { weight });
}

function drawn({ program, examples }: Blueprint, counts: readonly number[], seed: number): Prompt {
  const total = counts.reduce((sum, count) => sum + count, 0);
  if (counts.length === program.tasks.length && total === examples)
    return promptOfCounts(program, counts, seeded(seed));
  throw new InputError(
    "page/examples",
    `The model was built for ${examples} examples of ${program.tasks.length} tasks; the sliders give ${total}.`,
  );
}
