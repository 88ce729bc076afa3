/**
 * What looks inside: projections against closed forms, and task vectors on the constructed transformer, where it is known what
 * setting a residual does, and on a trained model, against forward passes with the same edits.
 */
import { describe, expect, it } from "vitest";
import { HookedModel } from "../../src/hooks/index.ts";
import { answerProbabilities } from "../../src/paper/answers.ts";
import { mixedPrompts } from "../../src/paper/figures/mixed.ts";
import { constructionOf, definitionOf } from "../../src/paper/inside/construction.ts";
import { discriminants, dot, minus } from "../../src/paper/inside/projections.ts";
import { findTaskVectors, lastResiduals, pureTwin } from "../../src/paper/inside/task-vectors.ts";
import { divergence, neighbourWeights, tsne } from "../../src/paper/inside/tsne.ts";
import { type Prompt, promptIds } from "../../src/paper/prompts.ts";
import { taskFamily } from "../../src/paper/tasks/index.ts";
import { compileTasks } from "../../src/theory/index.ts";
import { answerOf } from "../../src/theory/prompts.ts";
import { loadFixture, randomIds } from "../support/fixtures.ts";
import { testGpu } from "../support/gpu.ts";
import { gaussians, seeded } from "../support/numbers.ts";
import { trained, WHEEL } from "./support.ts";

/** Groups of points around centres along the axes. */
function blobs(dims: number, count: number, apart: number): Float32Array[][] {
  const random = seeded(3);
  return [0, 1, 2].map((group) =>
    Array.from({ length: count }, () => {
      const point = gaussians(random, dims);
      point[group] = (point[group] as number) + apart;
      return point;
    }),
  );
}

describe("discriminants", () => {
  it("of two groups are Fisher's direction, (Sw + r I)^-1 (m1 - m2)", () => {
    const groups = blobs(5, 12, 2).slice(0, 2) as [Float32Array[], Float32Array[]];
    const { project } = discriminants(groups);
    const direction = Array.from({ length: 5 }, (_, dim) => {
      const unit = Float64Array.from({ length: 5 }, (_, other) => Number(other === dim));
      return (project(unit)[0] as number) - (project(new Float64Array(5))[0] as number);
    });
    // Sw + r I times the direction must be the difference of means, up to its length.
    const means = groups.map((group) =>
      [0, 1, 2, 3, 4].map((dim) => group.reduce((s, x) => s + (x[dim] as number), 0) / 12),
    );
    const rows = groups.flatMap((group, index) => group.map((point) => [...minus(point, means[index] as number[])]));
    const scatter = (a: number, b: number) =>
      rows.reduce((s, row) => s + (row[a] as number) * (row[b] as number), 0) / 22;
    const ridge = (0.1 * [0, 1, 2, 3, 4].reduce((sum, dim) => sum + scatter(dim, dim), 0)) / 5;
    const image = direction.map((_, a) =>
      direction.reduce((sum, value, b) => sum + value * (scatter(a, b) + (a === b ? ridge : 0)), 0),
    );
    const wanted = minus(means[1] as number[], means[0] as number[]);
    const cosine = dot(image, wanted) / Math.sqrt(dot(image, image) * dot(wanted, wanted));
    expect(Math.abs(cosine)).toBeCloseTo(1, 10);
  });

  it("tell groups of other points apart, also with more dimensions than points", () => {
    const groups = blobs(40, 16, 8);
    const { classify } = discriminants(groups.map((group) => group.slice(0, 8)));
    for (const [group, points] of groups.entries())
      for (const point of points.slice(8)) expect(classify(point)).toBe(group);
  });
});

describe("t-SNE", () => {
  it("follows the gradient of KL(p || q), and its weights have the perplexity", () => {
    const points = blobs(4, 4, 3).flat();
    const weights = neighbourWeights(points, 3);
    expect(weights.reduce((sum, p) => sum + p, 0)).toBeCloseTo(1, 10);
    const places = Float64Array.from(gaussians(seeded(5), 2 * points.length));
    const { gradient } = divergence(weights, places);
    for (const index of [0, 7, 13]) {
      const at = (step: number) =>
        divergence(
          weights,
          places.map((x, i) => (i === index ? x + step : x)),
        ).value;
      expect((at(1e-5) - at(-1e-5)) / 2e-5).toBeCloseTo(gradient[index] as number, 7);
    }
  });

  it("keeps each group together and groups apart", () => {
    const groups = blobs(10, 12, 10);
    const places = tsne(groups.flat());
    for (const [i, place] of places.entries()) {
      const nearest = places
        .map((other, j) => ({ j, away: i === j ? Number.POSITIVE_INFINITY : Math.hypot(...minus(place, other)) }))
        .sort((a, b) => a.away - b.away)
        .slice(0, 5);
      for (const { j } of nearest) expect(Math.floor(j / 12)).toBe(Math.floor(i / 12));
    }
  });
});

describe("the construction of a family", () => {
  it.each(["number-words", "countries", "arithmetic", "words", "plus", "retrieval"])(
    "%s answers as the family",
    (name) => {
      const family = taskFamily(name);
      const program = compileTasks(definitionOf(family));
      for (const draw of [0, 5, 11]) {
        const inputs = family.inputs.map(({ values }, slot) => values[(draw * (slot + 3)) % values.length] as string);
        const ids = inputs.map((value, slot) => program.tokenId.get(value + family.inputs[slot]?.after) as number);
        for (const [k, task] of program.tasks.entries())
          expect(program.definition.vocabulary[answerOf(program, task, ids)]).toBe(
            `${family.tasks[k]?.answer(inputs)}\n`,
          );
      }
    },
  );

  it("is a subject: its residuals carry places, so that a vector answers its own query or nothing", async () => {
    const subject = await constructionOf(WHEEL, 6, await testGpu());
    using _model = subject.model;
    const [sources, queries] = [1, 2].map((seed) => mixedPrompts(WHEEL, { examples: 6, count: 4, seed })) as [
      Prompt[],
      Prompt[],
    ];
    const { scores, withExamples } = await findTaskVectors(subject, sources, queries, undefined);
    expect(withExamples).toBe(1);
    // Before the shares are there nothing tells a task; then the query's own token comes along with them.
    expect(scores.map(({ single, copies }) => [single, copies])).toEqual([
      [0, 0],
      [0, 0],
      [0, 1],
      [0, 1],
    ]);
  });
});

describe("task vectors of a trained model", () => {
  it("score as forward passes with the same edits do", async () => {
    const subject = await trained();
    const { model, vocabulary } = subject;
    using _model = model;
    const family = taskFamily("countries");
    const [sources, queries] = [1, 2].map((seed) => mixedPrompts(family, { examples: 10, count: 3, seed })) as [
      Prompt[],
      Prompt[],
    ];
    const { scores, residuals } = await findTaskVectors(subject, sources, queries, undefined);
    const own = (await lastResiduals(subject, [pureTwin(sources[1] as (typeof sources)[0], 2)], undefined))[0]?.[0];
    expect(residuals[0]?.[2]?.[1]).toEqual(own);
    const probabilities: number[] = [];
    for (const [role, vectors] of (residuals[1] ?? []).entries()) {
      const value = Float32Array.from({ length: 16 }, (_, dim) =>
        vectors.reduce((sum, vector) => sum + (vector[dim] as number) / vectors.length, 0),
      );
      for (const query of queries) {
        const edits = [{ at: "blocks.1.hook_resid_post", op: "set" as const, positions: [-1], value }];
        using run = await model.forward(promptIds(vocabulary, { ...query, examples: [] }), { logits: "last", edits });
        const logits = await run.logits.read();
        const total = logits.reduce((sum, logit) => sum + Math.exp(logit), 0);
        const [id] = vocabulary.answerIds(query.answers[role] as string);
        probabilities.push(Math.exp(logits[id as number] as number) / total);
      }
    }
    expect(scores[1]?.probability).toBeCloseTo(probabilities.reduce((sum, p) => sum + p, 0) / 9, 5);
  });
});

describe("answers of edited prompts", () => {
  it("are those of one forward pass with the edit, each prompt with its own", async () => {
    const base = await loadFixture("gpt2");
    using model = new HookedModel(base);
    const prompts = [4, 6].map((length, index) => ({
      prompt: randomIds(base, index, length),
      answers: [[3, 1, 4], [5]],
      edits: [
        {
          at: "blocks.0.hook_resid_post",
          op: "set" as const,
          positions: [-1],
          value: gaussians(seeded(index), base.spec.dModel),
        },
      ],
    }));
    const found = await answerProbabilities(model, prompts);
    for (const [index, { prompt, answers, edits }] of prompts.entries())
      for (const [number, answer] of answers.entries()) {
        const placed = edits.map((edit) => ({ ...edit, positions: [prompt.length - 1] }));
        using run = await model.forward([...prompt, ...answer], { edits: placed });
        let expected = 0;
        for (const [at, id] of answer.entries()) {
          const logits = await run.logits.at(0, prompt.length + at - 1);
          const largest = Math.max(...logits);
          expected +=
            (logits[id] as number) - largest - Math.log(logits.reduce((s, x) => s + Math.exp(x - largest), 0));
        }
        expect(found[index]?.answers[number]?.logProb).toBeCloseTo(expected, 4);
      }
  });
});
