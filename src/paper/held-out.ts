/** How often a trained model answers right: prompts of one task, with a query that is not among the examples. */
import type { HookedModel } from "../hooks/index.ts";
import { BATCH_TOKENS } from "./next-token.ts";
import type { Preset } from "./presets.ts";
import { evaluationPrompts, promptIds } from "./prompts.ts";
import type { TaskFamily } from "./tasks/family.ts";
import type { Vocabulary } from "./tasks/vocabulary.ts";

/** The part of `count` prompts of each family whose whole answer is what the model would say, token after token. */
export async function heldOutAccuracy(
  model: HookedModel,
  { data: { families, vocabulary, length } }: Preset,
  { count = 100, signal }: { count?: number; signal?: AbortSignal | undefined } = {},
): Promise<Record<string, number>> {
  const accuracy: Record<string, number> = {};
  for (const family of families) {
    const examples = Math.max(1, Math.floor(length / longestLine(family, vocabulary)) - 1);
    const prompts = evaluationPrompts(family, { counts: [examples], count });
    const asked = prompts.map((prompt) => ({
      prompt: promptIds(vocabulary, prompt),
      answer: vocabulary.answerIds(prompt.answers[0] as string),
    }));
    const batch = Math.max(1, Math.floor(BATCH_TOKENS / length));
    let right = 0;
    for (let first = 0; first < count; first += batch) {
      signal?.throwIfAborted();
      right += await countRight(model, asked.slice(first, first + batch));
    }
    accuracy[family.name] = right / count;
  }
  return accuracy;
}

/** Tokens of the longest example. */
function longestLine({ inputs, tasks }: TaskFamily, vocabulary: Vocabulary): number {
  const longest = (texts: readonly string[]) => Math.max(...texts.map((text) => tokensOf(text, vocabulary)));
  const read = inputs.reduce((sum, { values, after }) => sum + longest(values.map((value) => value + after)), 0);
  return read + longest(tasks.flatMap(({ answers }) => answers.map((answer) => `${answer}\n`)));
}

const tokensOf = (text: string, { form }: Vocabulary) => (form === "words" ? 1 : [...text].length);

async function countRight(model: HookedModel, asked: readonly { prompt: number[]; answer: number[] }[]) {
  const longest = Math.max(...asked.map(({ answer }) => answer.length));
  using run = await model.forward(
    asked.map(({ prompt, answer }) => [...prompt, ...answer.slice(0, -1)]),
    { logits: Array.from({ length: longest }, (_, index) => index - longest) },
  );
  const logits = await run.logits.read();
  const { vocabSize } = model.spec;
  const said = (row: number) => indexOfLargest(logits.subarray(row * vocabSize, (row + 1) * vocabSize));
  return asked.filter(({ answer }, index) => {
    const first = (index + 1) * longest - answer.length;
    return answer.every((token, place) => said(first + place) === token);
  }).length;
}

function indexOfLargest(values: Float32Array): number {
  return values.reduce((best, value, index) => (value > (values[best] as number) ? index : best), 0);
}
