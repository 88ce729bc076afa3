/** The verification itself: the quick grid holds on this host, and a model that is wrong does not pass. */
import { describe, expect, it } from "vitest";
import { buildSuperposition } from "../../src/theory/build.ts";
import { arithmetic } from "../../src/theory/presets/arithmetic.ts";
import { SparseMatrix } from "../../src/theory/sparse.ts";
import { claim, GROUPS } from "../../src/theory/verify/claim.ts";
import { mixedPrompts } from "../../src/theory/verify/exactness.ts";
import { verify } from "../../src/theory/verify/index.ts";
import { seeded } from "../../src/theory/verify/random-tasks.ts";
import { errorOf, onGpu } from "../../src/theory/verify/subject.ts";
import { testGpu } from "../support/gpu.ts";
import { byDay } from "../support/nightly.ts";

/** How many claims each part has on the quick grid: none may go missing unnoticed. */
const COUNTS = { exactness: 24, resources: 22, causality: 48, heads: 8, robustness: 16 };

/** The other two run by day on the grid `cut`, on each host (test/cross-host). */
const DAY = GROUPS.filter((group) => group !== "exactness" && group !== "causality");

describe("the quick grid", () => {
  it.each(byDay(GROUPS, DAY))(
    "%s",
    async (group) => {
      const claims = [];
      for await (const each of verify(await testGpu(), { grid: "quick", groups: [group] })) claims.push(each);
      expect(claims.filter(({ ok }) => !ok)).toEqual([]);
      expect(claims.length).toBe(COUNTS[group]);
      // An interchange that moved no answer would hold of any model.
      expect(claims.filter(({ name, note }) => /^0 of/.test(note ?? "") && !name.includes("ONE, BOS"))).toEqual([]);
    },
    600_000,
  );
});

describe("a claim", () => {
  it("holds at its bound, and never for NaN", () => {
    expect(claim("heads", "x", 1, "<=", 1).ok).toBe(true);
    expect(claim("heads", "x", 2, "<=", 1).ok).toBe(false);
    expect(claim("heads", "x", 2, ">=", 1).ok).toBe(true);
    expect(claim("heads", "x", 0, ">=", 1).ok).toBe(false);
    expect(claim("heads", "x", 1, "=", 1).ok).toBe(true);
    for (const relation of ["<=", ">=", "="] as const) {
      expect(claim("heads", "x", Number.NaN, relation, Number.NaN).ok).toBe(false);
    }
  });
});

describe("a model that is wrong", () => {
  it.each([
    ["blocks.1.attn.W_V", "the match"],
    ["blocks.2.attn.W_O", "the weights"],
    ["blocks.3.mlp.W_out", "the logarithm"],
  ])("is noticed: %s, %s", async (name) => {
    const gpu = await testGpu();
    const right = buildSuperposition(arithmetic(), { examples: 5 });
    const prompts = mixedPrompts(right, 20, seeded(1));
    const matrix = right.weights.get(name) as SparseMatrix;
    const wrong = new SparseMatrix(matrix.shape);
    matrix.values.forEach((value, e) => {
      wrong.add(matrix.rows[e] as number, matrix.cols[e] as number, 0.4 * value);
    });
    const weights = new Map(right.weights).set(name, wrong);
    const run = (model: typeof right) => onGpu({ gpu, signal: undefined }, model, (loaded) => errorOf(loaded, prompts));
    expect(await run(right)).toBeLessThanOrEqual(2e-5);
    expect(await run({ ...right, weights })).toBeGreaterThan(1e-3);
  });
});
