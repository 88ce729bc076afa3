/** Steering: the construction does what its WEIGHT says, and a trained model's numbers are those of plain edited passes. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { mixedPrompts } from "../../src/paper/figures/mixed.ts";
import { STEER } from "../../src/paper/figures/steer.ts";
import { pureTwin } from "../../src/paper/inside/task-vectors.ts";
import { type Prompt, promptIds } from "../../src/paper/prompts.ts";
import { taskFamily } from "../../src/paper/tasks/index.ts";
import { trained } from "./support.ts";

let subject: Awaited<ReturnType<typeof trained>>;
beforeAll(async () => {
  subject = await trained();
});
afterAll(() => subject.model.destroy());

async function outcomesOf(id: string, target: number, prompts: number) {
  const settings = { ...(await STEER.settings(subject, { quick: true })), prompts };
  const cell = STEER.cells(settings).find((one) => one.id === id) as ReturnType<typeof STEER.cells>[number];
  const steered = await STEER.run(cell, settings, subject, undefined);
  return steered[target]?.outcomes ?? [];
}

describe("the construction", () => {
  it("gives each task what WEIGHT says, also in prompts of another task", async () => {
    const outcomes = await outcomesOf("construction", 1, 2);
    const seen = outcomes.map(({ target, others, none, likeliest, pure }) => [target, others, none, likeliest, pure]);
    const expected = [
      [1 / 3, 2 / 3, 0, 0, 1],
      [2 / 3, 1 / 3, 0, 1, 1 / 6],
      [1, 0, 0, 1, 0],
    ];
    for (const [row, values] of expected.entries())
      for (const [column, value] of values.entries()) expect(seen[row]?.[column]).toBeCloseTo(value, 4);
  });
});

describe("a trained model", () => {
  it("has with its task's vector the probability of passes with that edit", async () => {
    const { model, vocabulary } = subject;
    const [count, target, examples] = [3, 2, 20];
    const outcomes = await outcomesOf("countries", target, count);
    expect(outcomes.map(({ method }) => method)).toContain("boost head");
    const added = outcomes.find(({ method }) => method === "add vector");
    const [, layer, alpha] = /layer (\d+), (\d+) times/.exec(added?.setting ?? "") ?? [];
    const at = `blocks.${layer}.hook_resid_post`;
    const family = taskFamily("countries");
    const residual = async (prompt: Prompt) => {
      using run = await model.forward(promptIds(vocabulary, prompt), { capture: at, positions: [-1] });
      return run.cache.read(at);
    };
    const value = new Float32Array(16);
    for (const prompt of mixedPrompts(family, { examples, count, seed: 1 })) {
      const [pure, mixed] = [await residual(pureTwin(prompt, target)), await residual(prompt)];
      for (const dim of value.keys())
        value[dim] = (value[dim] as number) + ((pure[dim] as number) - (mixed[dim] as number)) / count;
    }
    const edits = [{ at, op: "add" as const, positions: [-1], value, alpha: Number(alpha) }];
    let sum = 0;
    for (const prompt of mixedPrompts(family, { examples, count, seed: 0 })) {
      using run = await model.forward(promptIds(vocabulary, prompt), { logits: "last", edits });
      const logits = await run.logits.read();
      const [id] = vocabulary.answerIds(prompt.answers[target] as string);
      sum += Math.exp(logits[id as number] as number) / logits.reduce((total, logit) => total + Math.exp(logit), 0);
    }
    expect(added?.target).toBeCloseTo(sum / count, 4);
  });
});
