/** The singular values and vectors of heads' circuits: what they add up to, that they are orthonormal, and their tokens. */
import { afterAll, describe, expect, it } from "vitest";
import { type HeadSvdOptions, HookedModel, headSvd } from "../../src/hooks/index.ts";
import { type Columns, lowRankSvd } from "../../src/hooks/paths/low-rank-svd.ts";
import { loadFixture } from "../support/fixtures.ts";
import { gaussians, relativeError, seeded } from "../support/numbers.ts";
import { headOv, identity, matrix, type Rows, times, transposed } from "./support.ts";

const open: HookedModel[] = [];
afterAll(() => {
  for (const model of open) model.destroy();
});
const kept = (model: HookedModel) => {
  open.push(model);
  return model;
};

const asRows = (columns: Columns): Rows => columns.map((column) => [...column]);
/** Left times values times right, transposed. */
const together = ({ values, left, right }: { values: Float64Array; left: Columns; right: Columns }) =>
  times(transposed(asRows(left).map((row, i) => row.map((x) => x * (values[i] as number)))), asRows(right));
const gram = (columns: Columns) => times(asRows(columns), transposed(asRows(columns))).flat();

const randomColumns = (seed: number, count: number, length: number): Columns => {
  const random = seeded(seed);
  return Array.from({ length: count }, () => Float64Array.from(gaussians(random, length)));
};

describe("a matrix of low rank", () => {
  it.each([
    [4, 9, 7],
    [1, 5, 5],
    [8, 3, 6], // more columns than their length
    [32, 64, 48],
  ])("of %d columns of lengths %d and %d is taken apart", (rank, above, below) => {
    const [a, b] = [randomColumns(rank, rank, above), randomColumns(above, rank, below)];
    const svd = lowRankSvd(a, b);
    const expected = times(transposed(asRows(a)), asRows(b));
    expect(svd.values.length).toBe(Math.min(rank, above, below));
    expect(relativeError(together(svd).flat(), expected.flat())).toBeLessThan(1e-13);
    const one = identity(svd.values.length).flat();
    expect(relativeError(gram(svd.left), one)).toBeLessThan(1e-13);
    expect(relativeError(gram(svd.right), one)).toBeLessThan(1e-13);
    expect([...svd.values]).toEqual([...svd.values].sort((x, y) => y - x));
  });

  it("has the singular values that are known", () => {
    // 3 x x' + 2 y y' in a basis turned by 30 degrees.
    const [c, s] = [Math.cos(Math.PI / 6), 0.5];
    const [x, y] = [Float64Array.of(c, s, 0), Float64Array.of(-s, c, 0)];
    const svd = lowRankSvd([x.map((v) => 3 * v), y.map((v) => -2 * v)], [x, y]);
    expect(relativeError(svd.values, [3, 2])).toBeLessThan(1e-15);
    expect(relativeError((svd.left[0] as Float64Array).map(Math.abs), x.map(Math.abs))).toBeLessThan(1e-14);
    expect(relativeError((svd.right[1] as Float64Array).map(Math.abs), y.map(Math.abs))).toBeLessThan(1e-14);
  });

  it("has as many terms as its rank", () => {
    const [first, second] = randomColumns(1, 2, 6) as [Float64Array, Float64Array];
    const sum = first.map((x, i) => x + (second[i] as number));
    const b = randomColumns(2, 4, 5);
    const svd = lowRankSvd([first, second, sum, new Float64Array(6)], b);
    expect(svd.values.length).toBe(2);
    expect(relativeError(gram(svd.left), identity(2).flat())).toBeLessThan(1e-13);
    expect(lowRankSvd([new Float64Array(6)], [new Float64Array(5)]).values.length).toBe(0);
  });

  it("refuses numbers that are not finite", () => {
    const call = () => lowRankSvd(randomColumns(1, 2, 3), [Float64Array.of(1, 2), Float64Array.of(Number.NaN, 1)]);
    expect(call).toThrow(expect.objectContaining({ code: "hook/not-finite" }));
  });
});

// A Conv1D checkpoint, and two with grouped heads.
describe.each(["gpt2", "llama", "gemma2"])("heads of %s", (family) => {
  const loading = loadFixture(family).then((model) => kept(new HookedModel(model)));

  it.each(["OV", "QK"] as const)("%s: the parts add up to the matrix, and are orthonormal", async (circuit) => {
    const model = await loading;
    const { nHeads, nKvHeads } = model.spec;
    for (const head of [0, nHeads - 1]) {
      const svd = await headSvd(model, { layer: 1, head, circuit });
      const group = Math.floor(head / (nHeads / nKvHeads));
      const expected =
        circuit === "OV"
          ? await headOv(model, 1, head)
          : times(
              await matrix(model, "blocks.1.attn.W_Q", head),
              transposed(await matrix(model, "blocks.1.attn.W_K", group)),
            );
      expect(svd.values.length).toBe(model.spec.dHead);
      expect(relativeError(together(svd).flat(), expected.flat())).toBeLessThan(1e-12);
      const one = identity(model.spec.dHead).flat();
      expect(relativeError(gram(svd.left), one)).toBeLessThan(1e-12);
      expect(relativeError(gram(svd.right), one)).toBeLessThan(1e-12);
      expect(svd.leftTokens).toBeUndefined();
    }
  });
});

describe("tokens of singular vectors", () => {
  const loading = loadFixture("gpt2").then((model) => kept(new HookedModel(model)));

  /** Every token's score, through the norms' weights, in falling order. */
  async function ranked(model: HookedModel, vector: Float64Array, side: "read" | "write") {
    const centre = (x: number[]) => x.map((value) => value - x.reduce((a, b) => a + b) / x.length);
    const w = await model.weight(side === "read" ? "blocks.1.ln1.w" : "ln_final.w");
    const through =
      side === "read"
        ? centre([...vector].map((x, d) => x * (w.data[d] as number)))
        : centre([...vector]).map((x, d) => x * (w.data[d] as number));
    const table = side === "read" ? await matrix(model, "W_E") : transposed(await matrix(model, "W_U"));
    const scores = table.map((row, token) => ({
      token,
      score: row.reduce((sum, x, d) => sum + x * (through[d] as number), 0),
    }));
    return scores.sort((a, b) => b.score - a.score);
  }

  it.each(["OV", "QK"] as const)("%s: those with the largest and smallest scores", async (circuit) => {
    const model = await loading;
    const svd = await headSvd(model, { layer: 1, head: 2, circuit, topTokens: 3 });
    const sides = [
      [svd.left, svd.leftTokens, "read"],
      [svd.right, svd.rightTokens, circuit === "OV" ? "write" : "read"],
    ] as const;
    for (const [vectors, tokens, side] of sides) {
      expect(tokens?.length).toBe(vectors.length);
      for (const index of [0, vectors.length - 1]) {
        const all = await ranked(model, vectors[index] as Float64Array, side);
        const { most = [], least = [] } = tokens?.[index] ?? {};
        expect(most.map(({ token }) => token)).toEqual(all.slice(0, 3).map(({ token }) => token));
        expect(least.map(({ token }) => token)).toEqual(
          all
            .slice(-3)
            .reverse()
            .map(({ token }) => token),
        );
        const scores = [...most, ...least].map(({ score }) => score);
        expect(
          relativeError(
            scores,
            [...all.slice(0, 3), ...all.slice(-3).reverse()].map(({ score }) => score),
          ),
        ).toBeLessThan(1e-5);
      }
    }
  });

  it.each([
    ["hook/layer-range", { layer: 9 }],
    ["hook/head-range", { head: -1 }],
    ["hook/top-k", { topTokens: 97 }],
    ["input/argument", { circuit: "VO" }],
    ["input/argument", { topTokens: 0 }],
  ])("refuses with %s: %o", async (code, change) => {
    const options = { layer: 0, head: 0, circuit: "OV", ...change } as HeadSvdOptions;
    await expect(headSvd(await loading, options)).rejects.toMatchObject({ code });
  });
});
