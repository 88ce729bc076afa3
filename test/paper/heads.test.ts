/**
 * Heads and tasks. In the construction it is known what each head does: match head k alone recognises task k, weigh head k counts for
 * it. In a trained model the numbers are those of the public experiments.
 */
import { describe, expect, it } from "vitest";
import { activationPatch, attributionPatch, type Edit, type HookedModel, metric } from "../../src/hooks/index.ts";
import { mixedPrompts } from "../../src/paper/figures/mixed.ts";
import { constructionOf } from "../../src/paper/inside/construction.ts";
import { headEffects, ownHeads } from "../../src/paper/inside/heads.ts";
import { pureTwin } from "../../src/paper/inside/task-vectors.ts";
import { type Prompt, promptIds } from "../../src/paper/prompts.ts";
import { taskFamily } from "../../src/paper/tasks/index.ts";
import { testGpu } from "../support/gpu.ts";
import { trained, WHEEL } from "./support.ts";

describe("heads of the construction", () => {
  it("are one for each task: without match head k task k is gone and the others share its part", async () => {
    const subject = await constructionOf(WHEEL, 6, await testGpu());
    using _model = subject.model;
    const { stages } = subject.blueprint;
    const K = WHEEL.tasks.length;
    const [prompt] = mixedPrompts(WHEEL, { examples: 6, count: 1, seed: 0 }) as [Prompt];
    const effects = await headEffects(subject, prompt, undefined);
    const shareOf = [1 / 3, 1 / 3, 1 / 3];
    for (const k of [0, 1, 2]) {
      expect(effects.base[k]).toBeCloseTo(Math.log(shareOf[k] as number), 4);
      const [match, weigh, superpose] = (["match", "weigh", "superpose"] as const).map(
        (stage) => (stages[stage] as number) * K + k,
      );
      for (const head of [match, weigh, superpose])
        for (const task of [0, 1, 2]) {
          const change = effects.ablated[head as number]?.[task] as number;
          if (task === k) expect(change).toBeLessThan(-20);
          else expect(change).toBeCloseTo(Math.log(3 / 2), 3);
        }
      // The twin's weigh head says that all examples are of its task: its share becomes 1 beside the others' two thirds.
      const patched = effects.patched[k]?.[weigh as number];
      expect(patched?.[k]).toBeCloseTo(Math.log(1 / (5 / 3) / (1 / 3)), 3);
      expect(patched?.[(k + 1) % K]).toBeCloseTo(Math.log(1 / 3 / (5 / 3) / (1 / 3)), 3);
    }
    const own = ownHeads([effects]);
    for (const [task, { index, keeps, others }] of own.entries()) {
      expect(index % K).toBe(task);
      expect(keeps).toBeLessThan(1e-6);
      expect(others).toBeCloseTo(3 / 2, 3);
    }
  });
});

describe("heads of a trained model", () => {
  it("have the changes that activationPatch and attributionPatch give, and ablation's first order is that of a small part", async () => {
    const subject = await trained();
    const { model, vocabulary } = subject;
    using _model = model;
    const [prompt] = mixedPrompts(taskFamily("countries"), { examples: 12, count: 1, seed: 0 }) as [Prompt];
    const effects = await headEffects(subject, prompt, undefined);
    const task = 1;
    const [token] = vocabulary.answerIds(prompt.answers[task] as string);
    const options = {
      clean: [promptIds(vocabulary, pureTwin(prompt, 2))],
      corrupted: [promptIds(vocabulary, prompt)],
      at: "z" as const,
      positions: [-1],
      metric: metric.logProb(token as number),
    };
    const exact = (await activationPatch(model, options)).change();
    const approximate = (await attributionPatch(model, options)).change();
    for (const head of [0, 1, 2, 3]) {
      expect(effects.patched[2]?.[head]?.[task]).toBeCloseTo(exact[head] as number, 4);
      expect(effects.approximate.patched[2]?.[head]?.[task]).toBeCloseTo(approximate[head] as number, 4);
      const part = 1e-2;
      const edits = { at: `blocks.${head >> 1}.attn.hook_z`, op: "scale" as const, value: 1 - part, heads: [head & 1] };
      const { values, base } = await model.sweep({ input: options.corrupted, cells: [edits], metric: options.metric });
      const slope = ((values[0] as number) - (base[0] as number)) / part;
      const own = effects.approximate.ablated[head]?.[task] as number;
      expect(Math.abs(slope - own)).toBeLessThan(0.05 + 0.05 * Math.abs(own));
    }
  });
});

describe("heads of a model that spells its answers", () => {
  /** log P of an answer of several tokens, in doubles, from the logits of one pass over prompt and answer. */
  async function logProbOf(model: HookedModel, ids: readonly number[], answer: readonly number[], edits: Edit[] = []) {
    using run = await model.forward([...ids, ...answer], { edits });
    let sum = 0;
    for (const [at, token] of answer.entries()) {
      const logits = await run.logits.at(0, ids.length + at - 1);
      const largest = Math.max(...logits);
      sum += (logits[token] as number) - largest;
      sum -= Math.log(logits.reduce((total, value) => total + Math.exp(value - largest), 0));
    }
    return sum;
  }

  it("change the probability of the whole answer, also where two answers share their first token", async () => {
    const { model, vocabulary } = await trained("number-chars-d32-l2-h4");
    using _model = model;
    const prompts = mixedPrompts(taskFamily("number-words"), { examples: 8, count: 20, seed: 0 });
    const tokensOf = (one: Prompt) => one.answers.map((answer) => vocabulary.answerIds(answer));
    const sharesFirst = (one: Prompt) => new Set(tokensOf(one).map(([first]) => first)).size < one.answers.length;
    const prompt = prompts.find(sharesFirst) as Prompt;
    const [ids, answers] = [promptIds(vocabulary, prompt), tokensOf(prompt)] as const;
    const effects = await headEffects({ model, vocabulary }, prompt, undefined);
    const [task, twin] = [2, 1];
    const answer = answers[task] as number[];
    expect(answer.length).toBeGreaterThan(2);
    const base = await logProbOf(model, ids, answer);
    expect(effects.base[task]).toBeCloseTo(base, 4);
    const pureIds = promptIds(vocabulary, pureTwin(prompt, twin));
    const names = [0, 1].map((layer) => `blocks.${layer}.attn.hook_z`);
    using pure = await model.forward(pureIds, { capture: names, positions: [-1] });
    for (const head of [0, 3, 4, 6]) {
      const at = names[head >> 2] as string;
      const edited = async (edit: Pick<Edit, "op"> & Partial<Edit>) =>
        (await logProbOf(model, ids, answer, [{ at, heads: [head & 3], ...edit } as Edit])) - base;
      expect(effects.ablated[head]?.[task]).toBeCloseTo(await edited({ op: "zero" }), 3);
      const positions = [ids.length - 1];
      const value = pure.cache.at(at, { batch: 0, position: -1 });
      expect(effects.patched[twin]?.[head]?.[task]).toBeCloseTo(await edited({ op: "set", positions, value }), 3);
      // To first order a small part of the change has that part of the effect.
      const part = 1e-2;
      const slope = (await edited({ op: "scale", value: 1 - part })) / part;
      const own = effects.approximate.ablated[head]?.[task] as number;
      expect(Math.abs(slope - own)).toBeLessThan(0.05 + 0.05 * Math.abs(own));
      const lerp = (await edited({ op: "lerp", positions, value, alpha: part })) / part;
      const patched = effects.approximate.patched[twin]?.[head]?.[task] as number;
      expect(Math.abs(lerp - patched)).toBeLessThan(0.05 + 0.05 * Math.abs(patched));
    }
  });
});
