import { describe, expect, it } from "vitest";
import { Oracle } from "../../src/theory/oracle.ts";
import { seeded } from "./helpers.ts";
import {
  buildVectorForm,
  idealVectors,
  type VectorOptions,
  type VectorPrompt,
  type VectorTask,
  vectorEmbeds,
} from "./vector-form.ts";

const gaussian = (random: () => number) => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
const dot = (a: readonly number[], b: readonly number[]) =>
  a.reduce((sum, value, i) => sum + value * (b[i] as number), 0);
const unit = (a: number[]) => a.map((value) => value / Math.sqrt(dot(a, a)));
const randomUnit = (d: number, random: () => number) => unit(Array.from({ length: d }, () => gaussian(random)));

/** Gram-Schmidt on random vectors. */
function randomOrthogonal(d: number, random: () => number): number[][] {
  const rows: number[][] = [];
  while (rows.length < d) {
    let row = randomUnit(d, random);
    for (const other of rows) {
      const along = dot(row, other);
      row = row.map((value, i) => value - along * (other[i] as number));
    }
    rows.push(unit(row));
  }
  return rows;
}

function randomPrompt(
  { dimension: d, exampleLength: n, examples, tasks }: VectorOptions,
  random: () => number,
): VectorPrompt {
  const inputs = () => Array.from({ length: n - 1 }, () => randomUnit(d, random));
  const drawn = Array.from({ length: examples }, () => {
    const task = tasks[Math.floor(random() * tasks.length)] as VectorTask;
    const given = inputs();
    return [...given, task.matrix.map((row) => dot(row, given[task.slot] as number[]))];
  });
  return { examples: drawn, query: inputs() };
}

describe.each([
  { d: 64, n: 2, m: 10, K: 3, layers: 3 },
  { d: 64, n: 3, m: 20, K: 4, layers: 7 },
  { d: 96, n: 4, m: 7, K: 2, layers: 3 },
] as const)("vector form, d = $d, n = $n, m = $m, K = $K, $layers layers", ({ d, n, m, K, layers }) => {
  const random = seeded(d + n);
  const tasks = Array.from({ length: K }, (_, k) => ({
    name: `A${k}`,
    slot: k % (n - 1),
    matrix: randomOrthogonal(d, random),
  }));
  const options = { dimension: d, exampleLength: n, examples: m, tasks, layers };
  const model = buildVectorForm(options);
  const float64 = new Oracle(model.spec, model.weights);
  const float32 = new Oracle(model.spec, model.weights, { precision: "float32" });

  it("returns sum_k w_k A_k x", () => {
    for (let p = 0; p < 10; p++) {
      const prompt = randomPrompt(options, random);
      const { weights, out } = idealVectors(model, prompt);
      expect(weights.reduce((sum, share) => sum + share, 0)).toBeCloseTo(1, 12);
      const difference = (oracle: Oracle) => {
        const logits = oracle.run(vectorEmbeds(model, prompt));
        return Math.max(...out.map((value, i) => Math.abs(value - (logits[i] as number))));
      };
      expect(difference(float64)).toBeLessThanOrEqual(1e-9);
      expect(difference(float32)).toBeLessThanOrEqual(2e-5);
    }
  });

  it("has the layers and heads it was asked for", () => {
    expect(model.spec).toMatchObject({ nLayers: layers, nHeads: K });
  });
});

describe("vector form, bad input", () => {
  const identity = [
    [1, 0],
    [0, 1],
  ];
  const options: VectorOptions = {
    dimension: 2,
    exampleLength: 2,
    examples: 1,
    tasks: [{ name: "A", slot: 0, matrix: identity }],
  };
  const withTask = (task: Partial<VectorTask>): VectorOptions => ({
    ...options,
    tasks: [{ name: "A", slot: 0, matrix: identity, ...task }],
  });

  it.each([
    [withTask({ matrix: [[1, 0]] }), /not 2 x 2/],
    [
      withTask({
        matrix: [
          [1, 0],
          [1, 0],
        ],
      }),
      /not orthogonal: rows 1 and 0/,
    ],
    [
      withTask({
        matrix: [
          [2, 0],
          [0, 1],
        ],
      }),
      /not orthogonal: rows 0 and 0/,
    ],
    [withTask({ slot: 1 }), /reads slot 1; input slots are 0 to 0/],
    [{ ...options, threshold: 1 }, /threshold is 1/],
    [{ ...options, heads: 0 }, /1 heads are needed/],
    [{ ...options, layers: 4 as 3 }, /4 layers were asked for; the construction has layouts of 3 and 7 layers/],
  ])("%#", (wrong, message) => {
    expect(() => buildVectorForm(wrong)).toThrow(message);
  });

  it("refuses prompts of the wrong length", () => {
    const model = buildVectorForm(options);
    const example = [
      [1, 0],
      [0, 1],
    ];
    expect(() => vectorEmbeds(model, { examples: [example, example], query: [[1, 0]] })).toThrow(
      /1 examples of 2 vectors/,
    );
    expect(() => vectorEmbeds(model, { examples: [[[1, 0]]], query: [[1, 0]] })).toThrow(/group 0 has 1 vectors/);
    expect(() => vectorEmbeds(model, { examples: [example], query: [[1, 0, 0]] })).toThrow(/each of 2 numbers/);
  });
});
