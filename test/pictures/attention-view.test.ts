/** Patterns as pictures: each weight that is not 0 has a cell, at its query and key, whatever was captured. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { ForwardResult, HookedModel } from "../../src/hooks/index.ts";
import { attentionView } from "../../src/pictures/index.ts";
import { hooked } from "../hooks/support.ts";
import { dataOf, numberOf, titlesOf } from "./support.ts";

interface Cell {
  layer: string;
  head: string;
  query: string;
  key: string;
  value: number | null;
}

const IDS = [
  [5, 6, 7, 9, 4],
  [8, 3, 2],
];

let model: HookedModel;
let run: ForwardResult;
beforeAll(async () => {
  model = await hooked("llama");
  run = await model.forward(IDS, { capture: ["*.hook_pattern", "*.hook_attn_scores"] });
});
afterAll(() => {
  run.destroy();
  model.destroy();
});

const NAME = (layer: number) => `blocks.${layer}.attn.hook_pattern`;

it.each([0, 1])("shows every head of entry %i of a batch, its own positions alone", async (batch) => {
  const { nLayers, nHeads } = model.spec;
  const length = IDS[batch]?.length as number;
  const picture = await attentionView(run.cache, { batch });
  const cells = new Map(
    dataOf<Cell>(picture).map(({ layer, head, query, key, value }) => [`${layer}${head} ${query} ${key}`, value]),
  );
  let shown = 0;
  for (let layer = 0; layer < nLayers; layer++)
    for (let head = 0; head < nHeads; head++) {
      const pattern = await run.cache.read(NAME(layer), { batch, heads: head });
      for (let query = 0; query < length; query++)
        for (let key = 0; key < length; key++) {
          const weight = pattern[query * 5 + key] as number;
          expect(cells.get(`L${layer}H${head} ${query} ${key}`) ?? 0).toBe(weight);
          shown += Number(weight !== 0);
        }
    }
  expect(cells.size).toBe(shown);
  expect(shown).toBe((nLayers * nHeads * length * (length + 1)) / 2);
  expect(titlesOf(await picture.svg())).toHaveLength(shown);
});

it("shows one head with the tokens' names, from a cache or from numbers", async () => {
  const tokens = ["<s>", "The", " cat", "\n", " cat"];
  const picture = await attentionView(run.cache, { layers: 1, heads: 2, tokens });
  const data = await run.cache.read(NAME(1), { batch: 0, heads: 2 });
  const cells = dataOf<{ row: string; column: string; value: number }>(picture);
  expect(cells.map(({ value }) => value)).toEqual([...data]);
  expect(cells[8]).toMatchObject({ row: "1:The", column: "3:\\n" });
  expect(picture.title).toBe("L1H2");
  const numbers = await attentionView({ shape: [5, 5], data }, { tokens });
  expect(dataOf(numbers)).toEqual(cells);
  const whole = await attentionView(
    { shape: run.cache.shape(NAME(1)), data: await run.cache.read(NAME(1)) },
    { heads: 2, tokens },
  );
  expect(dataOf(whole)).toEqual(cells);
});

it("shows some positions at their own places, and scores where there is one", async () => {
  using part = await model.forward([IDS[0] as number[]], { capture: "blocks.0.attn.hook_pattern", positions: [-1, 1] });
  const picture = await attentionView(part.cache, { heads: 0 });
  const rows = dataOf<{ row: string }>(picture).map(({ row }) => row);
  expect([...new Set(rows)]).toEqual(["1", "4"]);
  const scores = dataOf<{ value: number | null; shown?: string; row: string; column: string }>(
    await attentionView(run.cache, { layers: 0, heads: 0, scores: true }),
  );
  expect(scores.filter(({ shown }) => shown === "−∞")).toHaveLength(10);
  expect(scores.every(({ value, row, column }) => (value === null) === Number(column) > Number(row))).toBe(true);
});

it("says in each cell of many heads who looks at what", async () => {
  const picture = await attentionView(run.cache, { layers: 0, tokens: ["a", "b", "c", "d", "e"] });
  const titles = titlesOf(await picture.svg());
  const [first] = dataOf<Cell>(picture);
  expect(titles[0]).toMatch(/^L0H0, a to a: /);
  expect(numberOf(titles[0] as string)).toBeCloseTo(first?.value as number, 5);
});

it("marks weights that are no numbers, and keeps zeros among the keys that a query sees", async () => {
  const data = [1, 0, 0, 1, 1, 0, Number.NaN, 1];
  const svg = await (await attentionView({ shape: [2, 2, 2], data })).svg();
  expect(titlesOf(svg)).toEqual([
    "H0, 0 to 0: 1",
    "H0, 1 to 0: 0",
    "H0, 1 to 1: 1",
    "H1, 0 to 0: 1",
    "H1, 1 to 0: NaN",
    "H1, 1 to 1: 1",
  ]);
  expect(svg.match(/fill="#ff5f5f"/g)).toHaveLength(1);
});

describe("what is refused", () => {
  const tensor = { shape: [1, 2, 2, 2], data: new Float32Array(8) };
  it.each<[string, unknown, object, string]>([
    ["what is no pattern", 5, {}, "input/argument"],
    ["numbers of another count", { shape: [2, 2], data: [1] }, {}, "picture/shape"],
    ["numbers of five axes", { shape: [1, 1, 1, 1, 1], data: [1] }, {}, "picture/shape"],
    ["a head that is not there", tensor, { heads: 2 }, "picture/range"],
    ["an entry that is not there", tensor, { batch: 1 }, "picture/range"],
    ["layers of numbers", tensor, { layers: 0 }, "input/idle-option"],
    ["tokens for other keys", tensor, { tokens: ["a"] }, "picture/labels"],
  ])("%s", async (_, from, options, code) => {
    await expect(attentionView(from as never, options)).rejects.toMatchObject({ code });
  });

  it("a cache without the layer, or without patterns", async () => {
    await expect(attentionView(run.cache, { layers: 7 })).rejects.toThrow(/no hook_pattern of layer 7/);
    using other = await model.forward(IDS, { capture: "hook_embed" });
    await expect(attentionView(other.cache)).rejects.toThrow(/has no hook_pattern. Capture "\*\.hook_pattern"/);
  });
});
