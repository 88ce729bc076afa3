/**
 * Task vectors (Hendel et al. 2023, arXiv 2310.15916). The residual at the last position of a prompt full of examples must say
 * which task they show. Set into a prompt without examples, at the last position of the same layer, it may make the model do
 * the task there. The layer is chosen by trying all of them, on prompts that are used for nothing else.
 */
import { captureAlone } from "../../hooks/capture.ts";
import type { Edit } from "../../hooks/index.ts";
import { answerProbabilities } from "../answers.ts";
import { meanOf } from "../figures/asking.ts";
import { askedOf } from "../measure.ts";
import { BATCH_TOKENS } from "../passes.ts";
import type { Prompt } from "../prompts.ts";
import type { Subject } from "../subjects.ts";

/** The same prompt with every example answered by the task of `role`. */
export function pureTwin(prompt: Prompt, role: number): Prompt {
  return {
    ...prompt,
    shares: prompt.shares.map((_, other) => Number(other === role)),
    examples: prompt.examples.map(({ inputs }) => ({ inputs, role })),
  };
}

/** The query alone. */
export const zeroShot = (prompt: Prompt): Prompt => ({ ...prompt, examples: [] });

/** The residual after a block. */
export const residualOf = (layer: number) => `blocks.${layer}.hook_resid_post`;

/** Sets the residual after a block at the last position. */
export function setVector(layer: number, value: Float32Array): Edit {
  return { at: residualOf(layer), op: "set", positions: [-1], value };
}

/** The residual at the last position of each prompt, after each block: [layers][prompts][dModel]. */
export async function lastResiduals(
  subject: Subject,
  prompts: readonly Prompt[],
  signal: AbortSignal | undefined,
): Promise<Float32Array[][]> {
  const { model } = subject;
  const names = model.spec.layers.map((_, layer) => residualOf(layer));
  const found = names.map((): Float32Array[] => []);
  const inputs = prompts.map((prompt) => askedOf(subject.vocabulary, prompt).prompt as string | number[]);
  const longest = Math.max(...inputs.map(({ length }) => length));
  const batch = Math.max(1, Math.floor(BATCH_TOKENS / longest));
  for (let first = 0; first < inputs.length; first += batch) {
    const input = inputs.slice(first, first + batch) as string[] | number[][];
    using run = await captureAlone(model, input, names, { positions: [-1], signal });
    for (const [layer, name] of names.entries())
      found[layer]?.push(...rowsOf(await run.cache.read(name), model.spec.dModel));
  }
  return found;
}

function rowsOf(values: Float32Array, width: number): Float32Array[] {
  return Array.from({ length: values.length / width }, (_, row) => values.slice(row * width, (row + 1) * width));
}

/** The mean of vectors. */
export function centroidOf(vectors: readonly Float32Array[]): Float32Array {
  const width = (vectors[0] as Float32Array).length;
  return Float32Array.from({ length: width }, (_, dim) => meanOf(vectors.map((vector) => vector[dim] as number)));
}

/** The sum of vectors, each times its weight. */
export function combined(vectors: readonly Float32Array[], weights: readonly number[]): Float32Array {
  const width = (vectors[0] as Float32Array).length;
  const at = (dim: number) =>
    vectors.reduce((sum, v, index) => sum + (weights[index] as number) * (v[dim] as number), 0);
  return Float32Array.from({ length: width }, (_, dim) => at(dim));
}

/** How well vectors of a layer work in prompts without examples, over all tasks; parts of the prompts. */
export interface LayerScore {
  readonly layer: number;
  /** The likeliest token begins the task's answer: with the task's mean vector. */
  readonly mean: number;
  /** The probability of the answer with it. */
  readonly probability: number;
  /** As `mean`, with the vector of a single prompt, whose query is another. */
  readonly single: number;
  /** With that vector the likeliest token begins the answer to the query the vector came from. */
  readonly copies: number;
}

export interface TaskVectors {
  readonly scores: readonly LayerScore[];
  /** The layer whose mean vectors do most tasks; of equal ones that with the larger probability. */
  readonly best: number;
  /** The same numbers of prompts without vectors and examples, and with examples. */
  readonly without: number;
  readonly withExamples: number;
  /** The residuals that vectors came from: [layers][tasks][prompts]. */
  readonly residuals: readonly (readonly Float32Array[])[][];
}

/** Whether the best layer's vectors do tasks: in a fifth of the queries, the paper's mark, and in more than do without vectors. */
export function doTasks({ scores, best, without }: Omit<TaskVectors, "residuals">): boolean {
  const { mean } = scores[best] as LayerScore;
  return mean >= 0.2 && mean > without;
}

/**
 * Takes vectors from pure prompts and tries them. Vector i comes from prompt i and is tried on query i of the other half, or
 * the next one with another answer.
 */
export async function findTaskVectors(
  subject: Subject,
  sources: readonly Prompt[],
  queries: readonly Prompt[],
  signal: AbortSignal | undefined,
): Promise<TaskVectors> {
  const roles = [...(sources[0] as Prompt).tasks.keys()];
  const pure = roles.flatMap((role) => sources.map((prompt) => pureTwin(prompt, role)));
  const all = await lastResiduals(subject, pure, signal);
  const residuals = all.map((layer) =>
    roles.map((role) => layer.slice(role * sources.length, (role + 1) * sources.length)),
  );
  const scores: LayerScore[] = [];
  for (const [layer, tasks] of residuals.entries())
    scores.push({ layer, ...(await tryLayer(subject, layer, tasks, sources, queries, signal)) });
  const best = scores.reduce((a, b) =>
    b.mean > a.mean || (b.mean === a.mean && b.probability > a.probability) ? b : a,
  );
  const plain = roles.flatMap((role) => queries.map((query) => ({ prompt: zeroShot(query), role })));
  const full = roles.flatMap((role) => queries.map((query) => ({ prompt: pureTwin(query, role), role })));
  return {
    scores,
    best: best.layer,
    without: meanOf((await tryAll(subject, plain, signal)).map(({ isFirst }) => Number(isFirst))),
    withExamples: meanOf((await tryAll(subject, full, signal)).map(({ isFirst }) => Number(isFirst))),
    residuals,
  };
}

async function tryLayer(
  subject: Subject,
  layer: number,
  tasks: readonly (readonly Float32Array[])[],
  sources: readonly Prompt[],
  queries: readonly Prompt[],
  signal: AbortSignal | undefined,
): Promise<Omit<LayerScore, "layer">> {
  const mean = tasks.flatMap((vectors, role) => {
    const edits = [setVector(layer, centroidOf(vectors))];
    return queries.map((query) => ({ prompt: zeroShot(query), role, edits }));
  });
  const single = tasks.flatMap((vectors, role) =>
    vectors.flatMap((vector, index) => {
      const given = sources[index]?.answers[role] as string;
      const query = rotated(queries, index).find(({ answers }) => answers[role] !== given);
      return query ? [{ prompt: zeroShot(query), role, edits: [setVector(layer, vector)], given }] : [];
    }),
  );
  const byMean = await tryAll(subject, mean, signal);
  const bySingle = await tryAll(subject, single, signal);
  return {
    mean: meanOf(byMean.map(({ isFirst }) => Number(isFirst))),
    probability: meanOf(byMean.map(({ probability }) => probability)),
    single: meanOf(bySingle.map(({ isFirst }) => Number(isFirst))),
    copies: meanOf(bySingle.map(({ isGiven }) => Number(isGiven))),
  };
}

/** The list from `start` on, and then from its beginning. */
function rotated<T>(list: readonly T[], start: number): T[] {
  const at = start % list.length;
  return [...list.slice(at), ...list.slice(0, at)];
}

interface Trial {
  readonly prompt: Prompt;
  /** The task whose answer is wanted. */
  readonly role: number;
  readonly edits?: readonly Edit[];
  /** The answer to another query. */
  readonly given?: string;
}

async function tryAll(subject: Subject, trials: readonly Trial[], signal: AbortSignal | undefined) {
  const asked = trials.map(({ prompt, role, edits = [], given }) => {
    const wanted = prompt.answers[role] as string;
    return { ...askedOf(subject.vocabulary, { ...prompt, answers: [wanted, given ?? wanted] }), edits };
  });
  const found = await answerProbabilities(subject.model, asked, signal ? { signal } : {});
  return found.map(({ answers: [wanted, given] }) => ({
    isFirst: wanted?.rank === 0,
    isGiven: given?.rank === 0,
    probability: wanted?.probability as number,
  }));
}
