/** The constructed transformer for the page: the mixture counted from the examples, and the one that the running model computes. */
import { InputError } from "../../errors.ts";
import { formatExample, observe, type Prompt, parsePrompt, placesOf, promptIds, setSpace } from "../../theory/index.ts";
import { largestDifference, runProgram } from "../../theory/mixture.ts";
import { promptOfTasks } from "../../theory/sampling.ts";
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

/** What the view shows. */
export interface SuperpositionLook {
  readonly prompt: readonly string[];
  readonly text: string;
  readonly tasks: readonly {
    readonly name: string;
    readonly explains: number;
    readonly weight: number;
    readonly answer: string | undefined;
    /** Attention of the task's head in the last layer: the weight in the running model. */
    readonly attention: number;
  }[];
  readonly tokens: readonly { readonly token: string; readonly exact: number; readonly model: number }[];
  readonly largestDifference: number;
}

const WORTH_SHOWING = 1e-3;

export async function superposition({ counts, text, seed, weight }: SuperpositionArgs): Promise<SuperpositionLook> {
  const { model, blueprint } = current();
  if (!blueprint)
    throw new InputError(
      "page/not-constructed",
      "This model was not constructed. Load the constructed transformer in the Model view.",
    );
  const { program, examples } = blueprint;
  const vocabulary = [...program.definition.vocabulary, "BOS"];
  const prompt = text === undefined ? drawn(counts ?? [], seed) : parsePrompt(program, text);
  const ids = promptIds(program, examples, prompt);
  const state = runProgram(program, ids, weight ? { weight } : {});
  const edits = weight ? [setSpace(blueprint, "WEIGHT", [placesOf(blueprint).last], [...weight])] : [];
  const { probabilities, attention } = await observe({ model, blueprint }, ids, edits);
  const lines = [...prompt.examples, prompt.query].map((words) => formatExample(program, words));
  return {
    prompt: lines,
    text: lines.join("\n"),
    tasks: program.tasks.map(({ name }, k) => ({
      name,
      explains: state.counts[k] as number,
      weight: state.weight[k] as number,
      answer: vocabulary[state.answers[k] as number],
      attention: attention[k] as number,
    })),
    tokens: vocabulary
      .map((token, id) => ({ token, exact: state.probabilities[id] as number, model: probabilities[id] as number }))
      .filter((each) => Math.max(each.exact, each.model) > WORTH_SHOWING)
      .sort((a, b) => b.exact - a.exact || b.model - a.model),
    largestDifference: largestDifference(probabilities, state.probabilities),
  };

  function drawn(each: readonly number[], from: number): Prompt {
    const total = each.reduce((sum, count) => sum + count, 0);
    if (each.length !== program.tasks.length || total !== examples)
      throw new InputError(
        "page/examples",
        `The model was built for ${examples} examples of ${program.tasks.length} tasks; the sliders give ${total}.`,
      );
    const random = seeded(from);
    return promptOfTasks(
      program,
      shuffled(
        each.flatMap((count, k) => new Array<number>(count).fill(k)),
        random,
      ),
      random,
    );
  }
}

function shuffled<T>(items: T[], random: () => number): T[] {
  const from = [...items];
  return items.map(() => from.splice(Math.floor(random() * from.length), 1)[0] as T);
}
