/** `NdArray` against nested lists, which index by hand, and `cache.array` against what `cache.read` gives. */
import { describe, expect, it } from "vitest";
import { type Cut, type EditValue, NdArray, type NestedNumbers } from "../../src/hooks/index.ts";
import { logitsOf, withForward, withHooked } from "./support.ts";

const SHAPE = [2, 3, 4, 5];
const COUNT = 120;
/** Numbers that no two means share. */
const array = () =>
  new NdArray(
    Float32Array.from({ length: COUNT }, (_, i) => Math.fround(Math.sin(i) * 100)),
    SHAPE,
  );

type Nested = NestedNumbers;
const list = (value: Nested) => value as Nested[];
/** A slice of nested lists, written out: the first cut, then the others in each of what is left. */
function sliced(value: Nested, [cut, ...rest]: readonly Cut[]): Nested {
  if (cut === undefined) return value;
  const items = list(value);
  if (typeof cut === "number") return sliced(items.at(cut) as Nested, rest);
  return (cut === null ? items : items.slice(...cut)).map((item) => sliced(item, rest));
}

const flat = (value: Nested): number[] => (typeof value === "number" ? [value] : value.flatMap(flat));
const mean = (values: number[]) => values.reduce((sum, each) => sum + each, 0) / values.length;

describe("indices", () => {
  it("find the number, from either end", () => {
    const a = array();
    const nested = a.toNested();
    expect(list(nested)).toHaveLength(2);
    for (const [i, j, k, l] of [
      [0, 0, 0, 0],
      [1, 2, 3, 4],
      [1, 0, 2, 3],
      [-1, -2, -3, -5],
    ] as const) {
      const byHand = list(list(list(list(nested).at(i) as Nested).at(j) as Nested).at(k) as Nested).at(l);
      expect(a.at(i, j, k, l)).toBe(byHand);
    }
    expect(a.toFlat()).toEqual(Float32Array.from(flat(nested)));
  });

  it.each<[string, () => unknown]>([
    ["too large", () => array().at(0, 3, 0, 0)],
    ["too small", () => array().at(0, -4, 0, 0)],
    ["no whole number", () => array().at(0, 0.5, 0, 0)],
    ["too few", () => array().at(0, 0)],
    ["too many", () => array().slice(0, 0, 0, 0, 0)],
    ["a range beyond the end", () => array().slice([0, 3])],
    ["an axis that is not there", () => array().mean(4)],
    ["a shape that the numbers do not fill", () => new NdArray(new Float32Array(5), [2, 3])],
  ])("are refused: %s", (_, call) => {
    expect(call).toThrow(expect.objectContaining({ code: "input/array" }));
  });
});

describe("slices", () => {
  it.each<{ cuts: Cut[]; shape: number[] }>([
    { cuts: [0], shape: [3, 4, 5] },
    { cuts: [null, 1], shape: [2, 4, 5] },
    { cuts: [null, [1, 3], -1, [0, 2]], shape: [2, 2, 2] },
    { cuts: [1, null, [-3, -1]], shape: [3, 2, 5] },
    { cuts: [[1, 2], 2, 3, 4], shape: [1] },
    { cuts: [0, [2, 2]], shape: [0, 4, 5] },
    { cuts: [0, [2, 1]], shape: [0, 4, 5] },
    { cuts: [], shape: SHAPE },
  ])("$cuts have shape $shape", ({ cuts, shape }) => {
    const a = array();
    const slice = a.slice(...cuts);
    expect(slice.shape).toEqual(shape);
    expect(slice.toNested()).toEqual(sliced(a.toNested(), cuts));
  });

  it("of slices are slices, over the same numbers", () => {
    const data = Float32Array.from({ length: COUNT }, (_, i) => i);
    const a = new NdArray(data, SHAPE);
    const slice = a.slice(null, [1, 3]).slice(1, 1, [1, 4]).slice(null, 2);
    expect(slice.toNested()).toEqual(sliced(a.toNested(), [1, 2, [1, 4], 2]));
    data[1 * 60 + 2 * 20 + 1 * 5 + 2] = -7;
    expect(slice.at(0)).toBe(-7);
  });
});

describe("means", () => {
  it("over each axis, over several, over all", () => {
    const a = array();
    for (const axis of [0, 1, 2, 3, -1]) {
      const result = a.mean(axis);
      const at = axis < 0 ? axis + 4 : axis;
      expect(result.shape).toEqual(SHAPE.filter((_, other) => other !== at));
      const cuts: Cut[] = [null, null, null, null];
      const slices = Array.from({ length: SHAPE[at] as number }, (_, i) => a.slice(...cuts.with(at, i)).toFlat());
      const expected = slices[0]?.map((_, i) => mean(slices.map((slice) => slice[i] as number)));
      expect(result.toFlat()).toEqual(expected);
    }
    const both = a.mean(0, 2);
    expect(both.shape).toEqual([3, 5]);
    for (const j of [0, 2])
      for (const l of [0, 4]) expect(both.at(j, l)).toBeCloseTo(mean(flat(a.slice(null, j, null, l).toNested())), 4);
    expect(a.mean().shape).toEqual([]);
    expect(a.mean().at()).toBeCloseTo(mean([...a.toFlat()]), 4);
    expect(a.slice(1, [1, 3]).mean(0, 1).at(2)).toBeCloseTo(mean(flat(a.slice(1, [1, 3], null, 2).toNested())), 4);
  });
});

describe("cache.array", () => {
  it("has the numbers of cache.read, [batch, head, query, key]", async () => {
    await withHooked("llama", async (model) => {
      const point = "blocks.0.attn.hook_pattern";
      const ids = [
        [1, 2, 3, 4],
        [5, 6, 7, 8],
      ];
      await withForward(model, ids, { capture: [point, "blocks.0.hook_resid_pre"] }, async ({ cache }) => {
        const pattern = await cache.array(point);
        expect(pattern.shape).toEqual([2, model.spec.nHeads, 4, 4]);
        expect(pattern.toFlat()).toEqual(await cache.read(point));
        // Every query's weights sum to 1, and no query looks ahead.
        for (const query of [0, 1, 2, 3]) {
          expect(pattern.slice(1, 0, query).mean().at() * 4).toBeCloseTo(1, 5);
          if (query < 3)
            expect(
              pattern
                .slice(null, null, query, [query + 1, 4])
                .mean()
                .at(),
            ).toBe(0);
        }
        const part = await cache.array(point, { batch: [1], positions: [-1], heads: [1, 3] });
        expect(part.shape).toEqual([1, 2, 1, 4]);
        expect(part.slice(0, 1, 0).toNested()).toEqual(pattern.slice(1, 3, 3).toNested());
        expect((await cache.array("blocks.0.hook_resid_pre")).shape).toEqual([2, 4, model.spec.dModel]);
        await expect(cache.array("blocks.1.hook_resid_pre")).rejects.toMatchObject({ code: "hook/not-captured" });
      });
    });
  });

  it("gives values of edits: the array, a slice and a mean", async () => {
    await withHooked("llama", async (model) => {
      const at = "blocks.1.hook_resid_post";
      const logitsWith = (value: EditValue) => logitsOf(model, [1, 2, 3, 4], { edits: [{ at, op: "set", value }] });
      const plain = await logitsOf(model, [1, 2, 3, 4]);
      await withForward(model, [5, 6, 7, 8], { capture: [at] }, async ({ cache }) => {
        const array = await cache.array(at);
        expect(await logitsWith(array)).not.toEqual(plain);
        for (const value of [
          array,
          array.slice(0),
          array.slice(0, 2),
          array.slice(0, [1, 2]),
          array.mean(0, 1),
          array.mean(),
        ])
          expect(await logitsWith(value)).toEqual(await logitsWith(value.toFlat()));
      });
    });
  });
});
