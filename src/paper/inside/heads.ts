/**
 * What each head does for each task's answer to a mixed prompt, exactly and to first order. A head is ablated: its output z is 0 at
 * all positions. Or it is patched: at the last position it has the z of the pure twin, the same prompt with all examples of one
 * task. One sweep makes all these changes; one backward pass says what attribution patching makes of them.
 */
import { type ActivationCache, type Edit, type HookedModel, metric } from "../../hooks/index.ts";
import { answerTokens } from "../../model/log-probs.ts";
import { meanOf } from "../figures/asking.ts";
import { askedOf } from "../measure.ts";
import type { Prompt } from "../prompts.ts";
import type { Subject } from "../subjects.ts";
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

/** Changes of log P of each task's answer (its first token), [heads][tasks], in nats. */
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

/** Undefined if two answers begin with the same token, so that they cannot be told apart by it. */
export async function headEffects(
  subject: Subject,
  prompt: Prompt,
  signal: AbortSignal | undefined,
): Promise<HeadEffects | undefined> {
  const { model } = subject;
  const asked = askedOf(subject.vocabulary, prompt);
  const { promptIds: ids, tokens } = answerTokens(
    model.base,
    asked.prompt as string | number[],
    asked.answers as string[] | number[][],
    {},
  );
  const answers = tokens.map(([first]) => first as number);
  if (new Set(answers).size < answers.length) return undefined;
  const heads = headsOf(model);
  const names = model.spec.layers.map((_, layer) => zOf({ layer }));
  const roles = [...answers.keys()];
  const twins = roles.map((role) => askedOf(subject.vocabulary, pureTwin(prompt, role)).prompt) as number[][];
  using pure = await model.forward(twins, {
    capture: names,
    positions: [-1],
    logits: "none",
    ...(signal && { signal }),
  });
  const ablations = heads.map(({ layer, head }): Edit[] => [{ at: zOf({ layer }), op: "zero", heads: [head] }]);
  const patches = roles.flatMap((batch) =>
    heads.map(({ layer, head }): Edit[] => {
      const at = zOf({ layer });
      return [{ at, op: "set", heads: [head], positions: [-1], value: pure.cache.at(at, { batch, position: -1 }) }];
    }),
  );
  const metrics = answers.map((token) => metric.logProb(token));
  const cells = [...ablations, ...patches];
  const { values, base } = await model.sweep({ input: [ids], cells, metric: metrics, ...(signal && { signal }) });
  const changes = cells.map((_, cell) =>
    roles.map((role) => (values[cell * roles.length + role] as number) - (base[role] as number)),
  );
  const { length } = heads;
  return {
    base: [...base],
    ablated: changes.slice(0, length),
    patched: roles.map((role) => changes.slice((role + 1) * length, (role + 2) * length)),
    approximate: await attributed(model, ids, answers, pure.cache, signal),
  };
}

/** Gradients times changes of z, from one backward pass of the prompt for each answer, all in a batch. */
async function attributed(
  model: HookedModel,
  ids: number[],
  answers: readonly number[],
  pure: ActivationCache,
  signal: AbortSignal | undefined,
): Promise<HeadEffects["approximate"]> {
  const { spec } = model;
  const names = spec.layers.map((_, layer) => zOf({ layer }));
  using passed = await model.backward(
    answers.map(() => ids),
    { metric: answers.map((token) => metric.logProb(token)), at: names, ...(signal && { signal }) },
  );
  const zero = new Float32Array(spec.nHeads * spec.dHead);
  const ablated: number[][] = [];
  const patched = answers.map((): number[][] => []);
  for (const name of names) {
    const [z, gradient, twins] = [await passed.cache.read(name), await passed.grads.read(name), await pure.read(name)];
    // z and its gradient are [answers, positions, heads, dHead], twins [tasks, 1, heads, dHead].
    const row = (values: Float32Array, index: number) =>
      values.subarray(index * zero.length, (index + 1) * zero.length);
    const change = (head: number, answer: number, position: number, to: Float32Array) => {
      const [from, slope] = [row(z, answer * ids.length + position), row(gradient, answer * ids.length + position)];
      let sum = 0;
      for (let dim = head * spec.dHead; dim < (head + 1) * spec.dHead; dim++)
        sum += ((to[dim] as number) - (from[dim] as number)) * (slope[dim] as number);
      return sum;
    };
    for (let head = 0; head < spec.nHeads; head++) {
      ablated.push(
        answers.map((_, answer) => ids.reduce((sum, _, position) => sum + change(head, answer, position, zero), 0)),
      );
      for (const [twin, list] of patched.entries())
        list.push(answers.map((_, answer) => change(head, answer, ids.length - 1, row(twins, twin))));
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
        return { index, keeps: parts[task] as number, others };
      })
      .reduce((a, b) => (selectivity(b) > selectivity(a) ? b : a)),
  );
}

const LEAST = 1e-6;
const selectivity = ({ keeps, others }: OwnHead) => Math.max(others, LEAST) / Math.max(keeps, LEAST);
