/** The theorem's first claim: the model's probabilities are the mixture p*, computed from integer counts. */
import { describe, expect, it } from "vitest";
import type { DenseTensor } from "../../src/theory/assemble.ts";
import { buildSuperposition, type SuperpositionModel } from "../../src/theory/build.ts";
import type { TaskDefinition } from "../../src/theory/definition.ts";
import { largestDifference, runProgram, softmax } from "../../src/theory/mixture.ts";
import { Oracle } from "../../src/theory/oracle.ts";
import { encodePrompt, type Prompt, promptIds } from "../../src/theory/prompts.ts";
import { samplePrompt } from "../../src/theory/sampling.ts";
import { SparseMatrix } from "../../src/theory/sparse.ts";
import { byDay, isNight } from "../support/nightly.ts";
import { check, randomTasks, seeded } from "./helpers.ts";

const FLOAT64_BOUND = 1e-9;
const FLOAT32_BOUND = 2e-5;

function oracles(model: SuperpositionModel) {
  return {
    float64: new Oracle(model.spec, model.weights),
    float32: new Oracle(model.spec, model.weights, { precision: "float32" }),
  };
}

/** d, m, n, K, prompts, of which one in four by day. The first five are the sizes the constants were chosen on. */
const GRID = [
  [32, 10, 3, 3, 200],
  [64, 30, 4, 4, 60],
  [100, 60, 4, 4, 10],
  [40, 20, 3, 8, 100],
  [64, 100, 5, 6, 2],
  [6, 1, 2, 1, 50],
  [5, 7, 3, 2, 200],
  [4, 8, 2, 3, 200],
  [9, 15, 8, 5, 100],
  [48, 10, 3, 48, 20],
  [512, 3, 3, 2, 20],
  [6, 1000, 2, 2, 1], // takes as long as all the others
] as const;

describe("exactness", () => {
  it.each(byDay(GRID, GRID.slice(0, -1)))(
    "d = %i, m = %i, n = %i, K = %i, over %i prompts",
    (d, m, n, K, prompts) => {
      const random = seeded(1000 * d + m);
      const definition = randomTasks(d, n, K, random);
      const four = buildSuperposition(definition, { examples: m });
      const seven = buildSuperposition(definition, { examples: m, layers: 7 });
      const { float64, float32 } = oracles(four);
      const sevenLayers = new Oracle(seven.spec, seven.weights);
      for (let p = 0; p < (isNight ? prompts : prompts / 4); p++) {
        const shares = definition.tasks.map(() => random() ** 3);
        const prompt = samplePrompt(four.program, m, random, shares);
        const { error, probabilities } = check(four, float64, prompt);
        expect(error).toBeLessThanOrEqual(FLOAT64_BOUND);
        if (p % 4 !== 0) continue;
        expect(check(four, float32, prompt).error).toBeLessThanOrEqual(FLOAT32_BOUND);
        expect(largestDifference(check(seven, sevenLayers, prompt).probabilities, probabilities)).toBeLessThanOrEqual(
          1e-9,
        );
      }
    },
    120_000,
  );
});

describe("random prompts", () => {
  it("contain overlapping examples, ties of weights and answers that agree", () => {
    const random = seeded(4008);
    const { program } = buildSuperposition(randomTasks(4, 2, 3, random), { examples: 8 });
    const states = Array.from({ length: 200 }, () =>
      runProgram(program, promptIds(program, 8, samplePrompt(program, 8, random))),
    );
    const repeats = (values: number[]) => new Set(values).size < values.length;
    expect(states.filter((state) => state.overlapping > 0).length).toBeGreaterThan(20);
    expect(states.filter((state) => repeats(state.counts)).length).toBeGreaterThan(20);
    expect(states.filter((state) => repeats(state.answers)).length).toBeGreaterThan(20);
  });
});

/** Three tasks of one token, small enough to count by hand: b follows from a by copy and by "next". */
const HAND: TaskDefinition = {
  name: "hand",
  description: "",
  vocabulary: ["a", "b", "c"],
  slots: [{ name: "x" }, { name: "y" }],
  tasks: [
    { name: "copy", source: { slot: "x" }, map: "identity" },
    { name: "next", source: { slot: "x" }, map: { table: { a: "b", b: "c" } } },
    { name: "to b", source: { slot: "x" }, map: { table: { a: "b", b: "b", c: "b" } } },
  ],
};

describe("a mixture counted by hand", () => {
  const model = buildSuperposition(HAND, { examples: 4 });
  const { float64, float32 } = oracles(model);
  const cases: [what: string, prompt: Prompt, weights: number[], p: number[]][] = [
    [
      "single task",
      { examples: ["aa", "cc", "aa", "cc"].map((pair) => [...pair]), query: ["a"] },
      [1, 0, 0],
      [1, 0, 0, 0],
    ],
    [
      "tie",
      { examples: ["aa", "aa", "cb", "cb"].map((pair) => [...pair]), query: ["a"] },
      [0.5, 0, 0.5],
      [0.5, 0.5, 0, 0],
    ],
    [
      "overlap: a -> b is both next and to b",
      { examples: ["ab", "ab", "ab", "cc"].map((pair) => [...pair]), query: ["b"] },
      [0.25, 0.75, 0.75],
      [0, 1 / 1.75, 0.75 / 1.75, 0],
    ],
    [
      "agreement: weights above 1 in all",
      { examples: ["ab", "ab", "ab", "ab"].map((pair) => [...pair]), query: ["a"] },
      [0, 1, 1],
      [0, 1, 0, 0],
    ],
    [
      "a task undefined on the query leaves its share to the others",
      { examples: ["aa", "aa", "bc", "bc"].map((pair) => [...pair]), query: ["c"] },
      [0.5, 0.5, 0],
      [0, 0, 1, 0],
    ],
    [
      "an example no task explains",
      { examples: ["ac", "aa", "aa", "cb"].map((pair) => [...pair]), query: ["a"] },
      [0.5, 0, 0.25],
      [2 / 3, 1 / 3, 0, 0],
    ],
    [
      "no task explains any",
      { examples: ["ac", "ca", "ac", "ca"].map((pair) => [...pair]), query: ["a"] },
      [0, 0, 0],
      [0, 0, 0, 1],
    ],
    [
      "nothing defined on the query",
      { examples: ["bc", "bc", "bc", "bc"].map((pair) => [...pair]), query: ["c"] },
      [0, 1, 0],
      [0, 0, 0, 1],
    ],
  ];

  it.each(cases)("%s", (_, prompt, weights, p) => {
    const exact = runProgram(model.program, promptIds(model.program, 4, prompt));
    expect(exact.weight).toEqual(weights);
    expect(largestDifference(exact.probabilities, p)).toBeLessThan(1e-15);
    expect(check(model, float64, prompt).error).toBeLessThanOrEqual(FLOAT64_BOUND);
    expect(check(model, float32, prompt).error).toBeLessThanOrEqual(FLOAT32_BOUND);
  });

  it("counts unexplained and overlapping examples", () => {
    const prompt = { examples: ["ac", "ab", "aa", "cb"].map((pair) => [...pair]), query: ["a"] };
    expect(runProgram(model.program, promptIds(model.program, 4, prompt))).toMatchObject({
      unexplained: 1,
      overlapping: 1,
    });
  });
});

/** Rounds to nearest even by dropping the lower 16 bits of each float32. */
function asBfloat16({ shape, data }: DenseTensor): SparseMatrix {
  const bits = new Uint32Array(data.slice().buffer).map((word) => (word + 0x7fff + ((word >>> 16) & 1)) & 0xffff0000);
  const matrix = new SparseMatrix(shape);
  const width = shape[1] ?? 1;
  new Float32Array(bits.buffer).forEach((value, i) => {
    matrix.add(Math.floor(i / width), i % width, value);
  });
  return matrix;
}

describe("constants", () => {
  it("too small a beta lets other positions in, and the error shows it", () => {
    const random = seeded(5);
    const definition = randomTasks(12, 3, 3, random);
    const errors = [1, 2, 32].map((beta) => {
      const model = buildSuperposition(definition, { examples: 12, beta, gamma: 2 * beta });
      const oracle = new Oracle(model.spec, model.weights);
      const again = seeded(6);
      return Math.max(
        ...Array.from({ length: 20 }, () => check(model, oracle, samplePrompt(model.program, 12, again)).error),
      );
    });
    expect(errors[0]).toBeGreaterThan(1e-2);
    expect(errors[0]).toBeGreaterThan(errors[1] as number);
    expect(errors[2]).toBeLessThan(FLOAT64_BOUND);
  });

  it("weights rounded to bfloat16 keep the mixture to 1e-2", () => {
    const random = seeded(8);
    const definition = randomTasks(24, 3, 3, random);
    const model = buildSuperposition(definition, { examples: 24 });
    const rounded = new Map([...model.tensors].map(([name, tensor]) => [name, asBfloat16(tensor)]));
    const oracle = new Oracle(model.spec, rounded, { precision: "float32" });
    const errors = Array.from(
      { length: 30 },
      () => check(model, oracle, samplePrompt(model.program, 24, random)).error,
    );
    expect(Math.max(...errors)).toBeGreaterThan(FLOAT32_BOUND);
    expect(Math.max(...errors)).toBeLessThan(1e-2);
  });

  it("the dense float32 tensors give the same answer as the sparse ones", () => {
    const model = buildSuperposition(HAND, { examples: 4 });
    const sparse = new Oracle(model.spec, model.weights, { precision: "float32" });
    const prompt = { examples: ["ab", "ab", "aa", "cb"].map((pair) => [...pair]), query: ["a"] };
    const ids = encodePrompt(model.program, 4, prompt);
    for (const [name, { shape, data }] of model.tensors) {
      const entries = model.weights.get(name);
      const total = (values: Iterable<number>) => [...values].reduce((sum, value) => sum + Math.abs(value), 0);
      expect(shape).toEqual(entries?.shape);
      expect(data.length).toBe(shape.reduce((product, size) => product * size, 1));
      expect(total(data)).toBeCloseTo(total(entries?.values ?? []), 2);
    }
    expect(softmax(sparse.run(ids))[1]).toBeCloseTo(
      runProgram(model.program, promptIds(model.program, 4, prompt)).probabilities[1] as number,
      5,
    );
  });
});
