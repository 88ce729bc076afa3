/** Convex combinations of vectors, on the constructed transformer: its shares are read through a logit that is linear in them. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { MemoryStore } from "../../src/checkpoint/store.ts";
import { ask } from "../../src/paper/figures/asking.ts";
import { figureOf } from "../../src/paper/figures/index.ts";
import { mixedPrompts } from "../../src/paper/figures/mixed.ts";
import { type Construction, constructionOf } from "../../src/paper/inside/construction.ts";
import { combined, lastResiduals, pureTwin, setVector, zeroShot } from "../../src/paper/inside/task-vectors.ts";
import { type Prompt, promptIds } from "../../src/paper/prompts.ts";
import { runFigure } from "../../src/paper/runs.ts";
import { taskFamily } from "../../src/paper/tasks/index.ts";
import { testGpu } from "../support/gpu.ts";
import { trained, WHEEL } from "./support.ts";

describe("two tasks of the construction, combined after their shares became logits", () => {
  let subject: Construction;
  beforeAll(async () => {
    subject = await constructionOf(WHEEL, 6, await testGpu());
  });
  afterAll(() => subject.model.destroy());

  it("have the probabilities sigmoid(B (1 - 2 t)) and sigmoid(B (2 t - 1)), as B and -B are the logits of 1 and 0", async () => {
    const { blueprint } = subject;
    const [prompt] = mixedPrompts(WHEEL, { examples: 6, count: 1, seed: 4 }) as [Prompt];
    const layer = blueprint.stages.logit as number;
    const vectors = (await lastResiduals(subject, [pureTwin(prompt, 0), pureTwin(prompt, 1)], undefined))[layer] ?? [];
    const ts = [0, 0.45, 0.48, 0.5, 0.52, 0.55, 1];
    const edits = ts.map((t) => [setVector(layer, combined(vectors, [1 - t, t]))]);
    const found = await ask(
      subject,
      ts.map(() => zeroShot(prompt)),
      undefined,
      { edits },
    );
    for (const [index, t] of ts.entries()) {
      const share = (side: number) => 1 / (1 + Math.exp(-blueprint.constants.bound * side));
      // OUT goes through a logarithm that is exact at counts and nearly so between them.
      const [a, b] = [share(1 - 2 * t), share(2 * t - 1)];
      const total = a + b;
      expect(Math.abs((found[index]?.probabilities[0] as number) - a / total)).toBeLessThan(0.06);
      expect(Math.abs((found[index]?.probabilities[1] as number) - b / total)).toBeLessThan(0.06);
      if (t === 0.5) expect(found[index]?.probabilities[0]).toBeCloseTo(0.5, 5);
    }
  });
});

describe("paths of a trained model", () => {
  it("are those of forward passes with the combined residual", async () => {
    const subject = await trained();
    const { model, vocabulary } = subject;
    using _model = model;
    const summary = await runFigure(figureOf("convex"), subject, { store: new MemoryStore(), quick: true });
    const rows = (summary?.table.rows ?? []).filter(
      ([family, kind, , , tasks]) => `${family} ${kind} ${tasks}` === "countries query capital + upper",
    );
    const [, , layer] = rows[0] as [string, string, number];
    const queries = mixedPrompts(taskFamily("countries"), { examples: 20, count: 8, seed: 0 });
    const at = `blocks.${layer}.hook_resid_post`;
    let sum = 0;
    for (const query of queries) {
      const value = new Float32Array(16);
      for (const role of [0, 2]) {
        using run = await model.forward(promptIds(vocabulary, pureTwin(query, role)), { capture: at, positions: [-1] });
        for (const [dim, x] of (await run.cache.read(at)).entries()) value[dim] = (value[dim] as number) + x / 2;
      }
      using run = await model.forward(promptIds(vocabulary, zeroShot(query)), {
        logits: "last",
        edits: [{ at, op: "set", positions: [-1], value }],
      });
      const logits = await run.logits.read();
      const [id] = vocabulary.answerIds(query.answers[2] as string);
      sum += Math.exp(logits[id as number] as number) / logits.reduce((total, logit) => total + Math.exp(logit), 0);
    }
    const middle = rows.find(([, , , , , weight]) => weight === 0.5);
    expect(middle?.[7]).toBeCloseTo(sum / 8, 5);
  });
});
