/** One run of a constructed model, for the demo and the page: the exact mixture, and the running model's numbers. */
import type { Edit } from "../hooks/index.ts";
import { largestDifference, type Overrides, type ProgramState, runProgram } from "./mixture.ts";
import type { LoadedSuperposition } from "./model-folder.ts";
import { observe } from "./observe.ts";
import { formatExample, type Prompt, promptIds } from "./prompts.ts";

/** A task in a run: `weight` is its exact share of the examples, `attention` its head's weight in the running model. */
export interface TaskLine {
  task: string;
  explains: number;
  weight: number;
  answer: string | null;
  attention: number;
}

/** A token of the vocabulary: p* counted from the examples, and the model's probability. */
export interface TokenLine {
  token: string;
  exact: number;
  model: number;
}

export interface Look {
  /** Examples and query as people write them. */
  prompt: string[];
  tasks: TaskLine[];
  /** Tokens with any probability to speak of, the most probable first. */
  tokens: TokenLine[];
  /** max |p - p*| over the whole vocabulary. */
  largestDifference: number;
  /** False when no task explains any example. */
  explained: boolean;
}

const WORTH_SHOWING = 1e-3;

/**
 * Runs the model on a prompt. `edits` change the run, and `overrides` say what the program makes of them.
 * Throws `theory/prompt` for a prompt that the model was not built for.
 */
export async function look(
  loaded: LoadedSuperposition,
  prompt: Prompt,
  edits: readonly Edit[] = [],
  overrides: Overrides = {},
): Promise<Look> {
  const { program, examples, vocabulary } = loaded.blueprint;
  const ids = promptIds(program, examples, prompt);
  const state = runProgram(program, ids, overrides);
  const { probabilities, attention } = await observe(loaded, ids, edits);
  const tokens = vocabulary.map((token, id) => ({
    token,
    exact: state.probabilities[id] as number,
    model: probabilities[id] as number,
  }));
  return {
    prompt: [...prompt.examples, prompt.query].map((words) => formatExample(program, words)),
    tasks: taskLines(program.tasks, state, vocabulary, attention),
    tokens: tokens
      .filter(({ exact, model }) => Math.max(exact, model) > WORTH_SHOWING)
      .sort((a, b) => b.exact - a.exact || b.model - a.model),
    largestDifference: largestDifference(probabilities, state.probabilities),
    explained: state.weight.some((weight) => weight > 0),
  };
}

function taskLines(
  tasks: readonly { name: string }[],
  { counts, weight, answers }: ProgramState,
  vocabulary: readonly string[],
  attention: readonly number[],
): TaskLine[] {
  return tasks.map(({ name }, k) => ({
    task: name,
    explains: counts[k] as number,
    weight: weight[k] as number,
    answer: vocabulary[answers[k] as number] ?? null,
    attention: attention[k] as number,
  }));
}
