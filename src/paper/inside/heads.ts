/**
 * What each head does for each task's answer to a mixed prompt, exactly and to first order. A head is ablated: its output z is 0 at
 * all positions. Or it is patched: at the prompt's last position it has the z of the pure twin, the same prompt with all examples of
 * one task. Edited passes and sweeps make all these changes; one backward pass says what attribution patching makes of them.
 */
import { type ActivationCache, type Edit, type HookedModel, metric } from "../../hooks/index.ts";
import { answerTokens } from "../../model/log-probs.ts";
import { answerProbabilities } from "../answers.ts";
import { meanOf } from "../figures/asking.ts";
import { askedOf } from "../measure.ts";
import type { Prompt } from "../prompts.ts";
import type { Subject } from "../subjects.ts";
import { LINE_BREAK } from "../tasks/vocabulary.ts";
import { pureTwin } from "./task-vectors.ts";

export interface Head {
  readonly layer: number;
  readonly head: number;
}

export const zOf = ({ layer }: Pick<Head, "layer">): string => `blocks.${layer}.attn.hook_z`;

/** Layer by layer. */
export function headsOf({ spec }: Pick<HookedModel, "spec">): Head[] {
  return spec.layers.flatMap((_, layer) => Array.from({ length: spec.nHeads }, (_, head) => ({ layer, head })));
}

/** Changes of log P of each task's answer, by the chain rule over all its tokens, [heads][tasks], in nats. */
export type Changes = readonly (readonly number[])[];

export interface HeadEffects {
  /** log P of each task's answer. */
  readonly base: readonly number[];
  readonly ablated: Changes;
  /** For each task of which the twin is. */
  readonly patched: readonly Changes[];
  /** The same as attribution patching has them. */
  readonly approximate: Pick<HeadEffects, "ablated" | "patched">;
}

/** Answers are whole lines, so none begins another. */
export async function headEffects(
  subject: Subject,
  prompt: Prompt,
  signal: AbortSignal | undefined,
): Promise<HeadEffects> {
  const { model } = subject;
  const asked = askedOf(subject.vocabulary, prompt, LINE_BREAK);
  const { promptIds: ids, tokens: answers } = answerTokens(
    model.base,
    asked.prompt as string | number[],
    asked.answers as string[] | number[][],
    {},
  );
  const heads = headsOf(model);
  const roles = [...answers.keys()];
  const twins = roles.map((role) => askedOf(subject.vocabulary, pureTwin(prompt, role)).prompt) as number[][];
  using pure = await model.forward(twins, {
    capture: model.spec.layers.map((_, layer) => zOf({ layer })),
    positions: [-1],
    logits: "none",
    ...(signal && { signal }),
  });
  const ablations = heads.map(({ layer, head }): Edit[] => [{ at: zOf({ layer }), op: "zero", heads: [head] }]);
  const patches = roles.flatMap((batch) =>
    heads.map(({ layer, head }): Edit[] => {
      const value = pure.cache.at(zOf({ layer }), { batch, position: -1 });
      return [{ at: zOf({ layer }), op: "set", heads: [head], positions: [ids.length - 1], value }];
    }),
  );
  // Without a head all of the prompt changes, so each prompt runs once for all tokens of its answers.
  const found = await answerProbabilities(
    model,
    [[], ...ablations].map((edits) => ({ prompt: ids, answers, edits })),
    signal ? { signal } : {},
  );
  const [base = [], ...without] = found.map((one) => one.answers.map(({ logProb }) => logProb));
  const patched = await sweepAnswers(model, ids, answers, patches, signal);
  return {
    base,
    ablated: without.map((row) => row.map((value, role) => value - (base[role] as number))),
    patched: roles.map((role) => patched.slice(role * heads.length, (role + 1) * heads.length)),
    approximate: await attributed(model, ids, answers, pure.cache, signal),
  };
}

/** A token of an answer, and those before it. */
interface Step {
  readonly answer: number;
  readonly before: readonly number[];
  readonly token: number;
}

const stepsOf = (answers: readonly (readonly number[])[]): Step[] =>
  answers.flatMap((ids, answer) => ids.map((token, at) => ({ answer, before: ids.slice(0, at), token })));

/**
 * Changes of each answer's log P, [cells][answers]. Cells that change the prompt's last position alone cost a sweep little: it
 * computes that row and the answer's. A sweep measures one position, so there is one for each beginning of an answer.
 */
async function sweepAnswers(
  model: HookedModel,
  ids: readonly number[],
  answers: readonly (readonly number[])[],
  cells: readonly Edit[][],
  signal: AbortSignal | undefined,
): Promise<number[][]> {
  const changes = cells.map(() => answers.map(() => 0));
  const all = stepsOf(answers);
  for (const beginning of new Set(all.map(({ before }) => before.join()))) {
    const steps = all.filter(({ before }) => before.join() === beginning);
    const { values, base } = await model.sweep({
      input: [[...ids, ...(steps[0] as Step).before]],
      cells,
      metric: steps.map(({ token }) => metric.logProb(token)),
      ...(signal && { signal }),
    });
    for (const [cell, row] of changes.entries())
      for (const [column, { answer }] of steps.entries())
        row[answer] =
          (row[answer] as number) + (values[cell * steps.length + column] as number) - (base[column] as number);
  }
  return changes;
}

/** Gradients times changes of z, from one backward pass of the prompt for each token of an answer, all in a batch. */
async function attributed(
  model: HookedModel,
  ids: readonly number[],
  answers: readonly (readonly number[])[],
  pure: ActivationCache,
  signal: AbortSignal | undefined,
): Promise<HeadEffects["approximate"]> {
  const { spec } = model;
  const names = spec.layers.map((_, layer) => zOf({ layer }));
  const steps = stepsOf(answers);
  using passed = await model.backward(
    steps.map(({ before }) => [...ids, ...before]),
    { metric: steps.map(({ token }) => metric.logProb(token)), at: names, ...(signal && { signal }) },
  );
  const length = ids.length + Math.max(...steps.map(({ before }) => before.length));
  const { dHead, dValue = dHead } = spec;
  const zero = new Float32Array(spec.nHeads * dValue);
  const ablated: number[][] = [];
  const patched = answers.map((): number[][] => []);
  for (const name of names) {
    const [z, gradient, twins] = [await passed.cache.read(name), await passed.grads.read(name), await pure.read(name)];
    // z and its gradient are [steps, length, heads, dValue], zero after a step's end; twins are [tasks, 1, heads, dValue].
    const row = (values: Float32Array, index: number) =>
      values.subarray(index * zero.length, (index + 1) * zero.length);
    const change = (head: number, step: number, position: number, to: Float32Array) => {
      const [from, slope] = [row(z, step * length + position), row(gradient, step * length + position)];
      let sum = 0;
      for (let dim = head * dValue; dim < (head + 1) * dValue; dim++)
        sum += ((to[dim] as number) - (from[dim] as number)) * (slope[dim] as number);
      return sum;
    };
    const ofAnswers = (ofStep: (step: number) => number) =>
      answers.map((_, answer) =>
        steps.reduce((sum, one, step) => (one.answer === answer ? sum + ofStep(step) : sum), 0),
      );
    const positions = Array.from({ length }, (_, position) => position);
    for (let head = 0; head < spec.nHeads; head++) {
      ablated.push(
        ofAnswers((step) => positions.reduce((sum, position) => sum + change(head, step, position, zero), 0)),
      );
      for (const [twin, list] of patched.entries())
        list.push(ofAnswers((step) => change(head, step, ids.length - 1, row(twins, twin))));
    }
  }
  return { ablated, patched };
}

/** A task's most selective head: ablating it takes most from the task, compared with what it leaves the others. */
export interface OwnHead {
  /** Its number among all heads. */
  readonly index: number;
  /** The part of its mean probability that the task keeps. */
  readonly keeps: number;
  /** The least part that another task keeps. */
  readonly others: number;
  /** Mean probability of the task's answer with all heads. */
  readonly probability: number;
}

/** The head of each task. */
export function ownHeads(effects: readonly HeadEffects[]): OwnHead[] {
  const tasks = [...(effects[0] as HeadEffects).base.keys()];
  const probability = (one: HeadEffects, task: number, change = 0) => Math.exp((one.base[task] as number) + change);
  const heads = [...(effects[0] as HeadEffects).ablated.keys()];
  const kept = heads.map((index) =>
    tasks.map((task) => {
      const left = meanOf(effects.map((one) => probability(one, task, one.ablated[index]?.[task])));
      return left / meanOf(effects.map((one) => probability(one, task)));
    }),
  );
  return tasks.map((task) =>
    kept
      .map((parts, index): OwnHead => {
        const others = Math.min(...parts.filter((_, other) => other !== task));
        const before = meanOf(effects.map((one) => probability(one, task)));
        return { index, keeps: parts[task] as number, others, probability: before };
      })
      .reduce((a, b) => (selectivity(b) > selectivity(a) ? b : a)),
  );
}

const LEAST = 1e-6;
const selectivity = ({ keeps, others }: OwnHead) => Math.max(others, LEAST) / Math.max(keeps, LEAST);
