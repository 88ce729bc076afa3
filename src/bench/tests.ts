/**
 * The two things that are timed, each as a run and a check of what it gave.
 *
 * A prompt (`pp`) is one `forward` and the last position's logits read back. Tokens (`tg`) are a `generate` behind a cache
 * that was filled before: as many passes of one row a sequence as tokens, each choice read back, a few passes behind.
 */
import type { HookedModel } from "../hooks/index.ts";
import type { KvCache } from "../model/kv-cache.ts";
import type { TestPlan } from "./options.ts";
import { promptBatch, promptIds } from "./prompts.ts";
import { checkGreedy, checkLogits, type Reference } from "./reference.ts";

/** What the timing needs to know of a test. */
export interface BenchTest {
  readonly plan: TestPlan;
  /** GPU memory that it holds between runs. */
  readonly heldBytes: number;
  /** One run; it resolves when the result is on the host. The check compares that result with the reference. */
  run(): Promise<Check>;
  destroy(): void;
}

/** Gives the largest error of a run's output. @throws SuperlensError `bench/wrong-output` */
export type Check = (reference: Reference) => Promise<number>;

export function makeTest(model: HookedModel, plan: TestPlan): Promise<BenchTest> {
  return plan.kind === "prompt" ? promptTest(model, plan) : generateTest(model, plan);
}

async function promptTest(model: HookedModel, plan: TestPlan): Promise<BenchTest> {
  const ids = promptBatch(model.spec, plan.tokens, plan.batch);
  return {
    plan,
    heldBytes: 0,
    async run() {
      using result = await model.forward(ids, { logits: "last" });
      const logits = await result.logits.read();
      return (reference) => checkPrompts(plan, ids, logits, reference);
    },
    destroy: () => undefined,
  };
}

async function checkPrompts(
  { name, batch }: TestPlan,
  ids: readonly number[][],
  logits: Float32Array,
  reference: Reference,
): Promise<number> {
  const width = logits.length / batch;
  let worst = 0;
  for (const [sequence, list] of ids.entries()) {
    const expected = await reference.logits(list, [list.length - 1]);
    const own = logits.subarray(sequence * width, (sequence + 1) * width);
    worst = Math.max(worst, checkLogits(`${name}, sequence ${sequence}`, own, expected));
  }
  return worst;
}

async function generateTest(model: HookedModel, plan: TestPlan): Promise<BenchTest> {
  const { tokens, batch, depth } = plan;
  // The last id is the first that the timed passes read; a cache holds everything before the newest token.
  const before = promptBatch(model.spec, depth + 1, batch);
  const prompts = before.map((ids) => ids.slice(0, depth));
  const next = before.map((ids) => ids.slice(depth));
  const { gpu } = model;
  gpu.trim();
  const bytesBefore = gpu.memory.bytes;
  const kv = model.createKvCache({ sequences: batch, capacity: batch * (depth + tokens) });
  try {
    if (depth > 0) (await model.forward(prompts, { kv, logits: "none" })).destroy();
  } catch (error) {
    kv.destroy();
    throw error;
  }
  gpu.trim();
  return {
    plan,
    heldBytes: gpu.memory.bytes - bytesBefore,
    async run() {
      const steps = await decode(model, kv, next, tokens);
      kv.restore(prompts.map(({ length }) => length));
      return (reference) => checkSteps(plan, before, steps, reference);
    },
    destroy: () => kv.destroy(),
  };
}

/** Tokens of every step, [step][sequence]. */
async function decode(model: HookedModel, kv: KvCache, next: number[][], tokens: number): Promise<number[][]> {
  const steps: number[][] = [];
  for await (const step of model.generate(next, { kv, maxNewTokens: tokens, ignoreEos: true })) {
    steps.push(step.tokens as number[]);
  }
  return steps;
}

/** Every decoded token against what one reference pass over all of them would have chosen at its position. */
async function checkSteps(
  { name, depth }: TestPlan,
  before: readonly number[][],
  steps: readonly number[][],
  reference: Reference,
): Promise<number> {
  const positions = steps.map((_, index) => depth + index);
  let worst = 0;
  for (const [sequence, ids] of before.entries()) {
    const chosen = steps.map((step) => step[sequence] as number);
    const expected = await reference.logits([...ids, ...chosen.slice(0, -1)], positions);
    worst = Math.max(worst, checkGreedy(`${name}, sequence ${sequence}`, chosen, expected));
  }
  return worst;
}

/** The first token of a prompt, which on a new device compiles every kernel it needs. */
export async function firstToken(model: HookedModel, length: number): Promise<void> {
  const ids = promptIds(model.spec, length);
  for await (const _step of model.generate([ids], { maxNewTokens: 1, ignoreEos: true }));
}
