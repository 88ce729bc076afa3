/** Heat maps: the numbers of each form of result are those in the specification, in the SVG and in the table. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  ablate,
  activationPatch,
  allCompositionScores,
  attentionSummary,
  attributionPatch,
  compareWithExact,
  directLogitAttribution,
  type HookedModel,
  headScores,
  logitLens,
  metric,
  saliency,
} from "../../src/hooks/index.ts";
import { heatMap, PictureError } from "../../src/pictures/index.ts";
import { hooked } from "../hooks/support.ts";
import { dataOf, numberOf, titlesOf } from "./support.ts";

interface Cell {
  row: string;
  column: string;
  value: number | null;
  shown?: string;
  text?: string;
}

const PROMPTS = { clean: [5, 6, 7, 9], corrupted: [5, 8, 7, 9], metric: metric.logitDiff(5, 7) };

let model: HookedModel;
beforeAll(async () => {
  model = await hooked("llama");
});
afterAll(() => model.destroy());

const valuesOf = (cells: readonly Cell[]) => cells.map(({ value }) => value);

describe("the numbers of a grid", () => {
  it("are in the specification as they are, in the SVG to six digits, and in the table to four", async () => {
    const grid = await activationPatch(model, { ...PROMPTS, at: "resid_pre" });
    const picture = heatMap(grid, { title: "patching", measure: "logit difference" });
    expect(valuesOf(dataOf(picture))).toEqual([...grid.values]);
    const titles = titlesOf(await picture.svg());
    expect(titles).toHaveLength(grid.values.length);
    expect(titles[0]).toMatch(/^L0, 0:/);
    titles.forEach((title, cell) => {
      expect(Math.abs(numberOf(title) / (grid.values[cell] as number) - 1)).toBeLessThan(1e-5);
    });
    const lines = picture.text().split("\n");
    expect(lines[0]).toBe("patching");
    expect(lines[2]?.split(/\s+/).at(-1)).toBe(String(Number((grid.values[3] as number).toPrecision(4))));
  });

  it("are shown as changes, or normalized, with 0 in the middle of the colours", async () => {
    const grid = await activationPatch(model, { ...PROMPTS, at: "z" });
    const cells = (show: string) => valuesOf(dataOf(heatMap(grid, { show })));
    expect(cells("change").map(Number)).toEqual([...grid.values].map((value) => value - grid.base));
    cells("normalized").forEach((value, cell) => {
      expect(value).toBeCloseTo(grid.normalized()[cell] as number, 5);
    });
    const { encoding } = (heatMap(grid, { show: "normalized" }).spec.layer as { encoding: { color: Colour } }[])[0]!;
    const [from, to] = encoding.color.scale.domain;
    expect(from).toBe(-to);
    expect(encoding.color.scale).toMatchObject({ scheme: "redblue", domainMid: 0 });
  });

  it("are the same when the grid crossed from a worker or was JSON", async () => {
    const grid = await ablate(model, { input: PROMPTS.clean, kind: "zero", metric: PROMPTS.metric });
    const { spec } = heatMap(grid);
    expect(heatMap(structuredClone(grid)).spec).toEqual(spec);
    expect(heatMap(JSON.parse(JSON.stringify(grid))).spec).toEqual(spec);
  });
});

interface Colour {
  scale: { domain: [number, number] };
}

describe("other results", () => {
  it("a logit lens: probabilities and tokens", async () => {
    using lens = await logitLens(model, PROMPTS.clean, { topK: 3 });
    const cells = dataOf<Cell>(heatMap(lens, { rank: 1 }));
    lens.labels.forEach((label, layer) => {
      [0, 1, 2, 3].forEach((position) => {
        const token = lens.at(label, position)[1]!;
        const cell = cells[layer * 4 + position]!;
        expect(cell).toMatchObject({ row: label, column: String(position), text: `#${token.token}` });
        expect(cell.value).toBe(token.probability);
      });
    });
    const svg = await heatMap(lens).svg();
    expect(svg).toContain(`>#${lens.at("final_post", 3)[0]?.token}<`);
    expect(valuesOf(dataOf(heatMap(lens, { show: "logit" })))).toEqual(
      lens.labels.flatMap((label) => [0, 1, 2, 3].map((position) => lens.at(label, position)[0]?.logit)),
    );
  });

  it("scores of heads, of tokens and of pairs of heads, attention, attribution, sweeps", async () => {
    const { clean, corrupted, metric: difference } = PROMPTS;
    const heads = await headScores(model, [1, 2, 1, 2], "induction");
    expect(dataOf<Cell>(heatMap(heads))[1]).toEqual({ row: "L0", column: "H1", value: heads.at(0, 1) });
    const composition = await allCompositionScores(model, { mode: "V" });
    const pair = dataOf<Cell>(heatMap(composition)).find(({ row, column }) => row === "L0H1" && column === "L1H0");
    expect(pair?.value).toBe(composition.at(0, 1, 1, 0));
    const tokens = await saliency(model, { input: clean, metric: difference });
    expect(valuesOf(dataOf(heatMap(tokens)))).toEqual([...tokens.scores]);
    const summary = await attentionSummary(model, clean);
    expect(valuesOf(dataOf(heatMap(summary, { show: "first" })))).toEqual([...summary.mean.first]);
    const logits = await directLogitAttribution(model, clean, { tokens: 5 });
    expect(dataOf<Cell>(heatMap(logits))[0]).toMatchObject({ row: logits.labels[0], value: logits.values[0] });
    const compared = await compareWithExact(model, { clean, corrupted, metric: difference, at: "z" }, { sample: 2 });
    const alone = await attributionPatch(model, { clean, corrupted, metric: difference, at: "z" });
    expect(valuesOf(dataOf(heatMap(compared)))).toEqual([...alone.values]);
    const cells = [0, 1].map((layer) => [{ at: `blocks.${layer}.hook_resid_pre`, op: "zero" as const }]);
    const sweep = await model.sweep({ input: clean, cells, metric: [difference, metric.logit(3)] });
    expect(valuesOf(dataOf(heatMap(sweep, { show: "change" }))).map(Number)).toEqual(
      [...sweep.values].map((value, cell) => value - (sweep.base[cell % 2] as number)),
    );
  });

  it("numbers with a shape, and lists", async () => {
    const weight = await model.weight("blocks.0.attn.W_O");
    expect(() => heatMap(weight)).toThrow(expect.objectContaining({ code: "picture/shape" }));
    const shaped = { shape: [1, 2, 1, 3], data: Float32Array.of(1, 2, 3, 4, 5, 6) };
    expect(dataOf<Cell>(heatMap(shaped))[4]).toEqual({ row: "1", column: "1", value: 5 });
    expect(
      dataOf<Cell>(
        heatMap(
          [
            [1, 2],
            [3, 4],
          ],
          { rows: ["a", "b"] },
        ),
      )[2],
    ).toEqual({ row: "b", column: "0", value: 3 });
  });
});

it("crosses out what is no number, and says what it is", async () => {
  const grid = [
    [1, Number.NaN],
    [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY],
  ];
  const bare = await heatMap(grid, { text: false }).svg();
  expect(bare.match(/>×</g)).toHaveLength(3);
  expect(titlesOf(bare).sort()).toEqual(["0, 0: 1", "0, 1: NaN", "1, 0: ∞", "1, 1: −∞"]);
  expect(await heatMap(grid).svg()).toMatch(/>NaN<[\s\S]*>∞<[\s\S]*>−∞</);
});

it("gives signed numbers two colours around white, and others the scale from dark to bright", async () => {
  const colours = async (row: number[]) =>
    [...(await heatMap([row], { text: false }).svg()).matchAll(/fill="rgb\((\d+), (\d+), (\d+)\)"><title>/g)].map(
      (found) => found.slice(1).map(Number),
    );
  const [low, zero, high] = (await colours([-2, 0, 2])) as [number[], number[], number[]];
  expect(low[0]).toBeGreaterThan(2 * (low[2] as number));
  expect(high[2]).toBeGreaterThan(2 * (high[0] as number));
  expect(Math.min(...zero)).toBeGreaterThan(230);
  const brightness = (await colours([0, 1, 2, 3])).map((rgb) => rgb.reduce((sum, part) => sum + part, 0));
  expect(brightness).toEqual([...brightness].sort((a, b) => a - b));
});

it("names what cannot be seen, and tells equal names apart", async () => {
  const columns = ["a", "a", "\n", " b", "\u200b", "<b>&\"'", "\ud800", "語".repeat(60)];
  const picture = heatMap([columns.map((_, index) => index)], { columns });
  const long = "語".repeat(60);
  const names = ["0:a", "1:a", "2:\\n", "3:·b", "4:\\u200b", "5:<b>&\"'", "6:\\ud800", `7:${long}`];
  expect(dataOf<Cell>(picture).map(({ column }) => column)).toEqual(names);
  const svg = await picture.svg();
  expect(svg).toContain(`>7:${long}<`);
  expect(svg).toContain(">5:&lt;b&gt;&amp;");
  // The longest stands on end below the cells, and there is room for it.
  const [, height] = /viewBox="0 0 [\d.]+ ([\d.]+)"/.exec(svg) as unknown as [string, string];
  expect(Number(height)).toBeGreaterThan(60 * 10);
});

describe("what is refused", () => {
  it.each<[string, unknown, object, string]>([
    ["no result", 5, {}, "picture/form"],
    ["an object without numbers", { rows: 1 }, {}, "picture/form"],
    ["lines of unequal length", [[1, 2], [3]], {}, "picture/shape"],
    ["words", [["a"]], {}, "picture/shape"],
    ["too many names", [[1, 2]], { columns: ["a"] }, "picture/labels"],
    ["something else to show", [[1, 2]], { show: "change" }, "picture/show"],
    ["a rank of numbers", [[1, 2]], { rank: 1 }, "input/idle-option"],
    ["a million cells", Array(1000).fill(Array(1000).fill(0)), {}, "picture/size"],
    ["no cells", [[]], {}, "picture/size"],
    ["an unknown option", [[1, 2]], { color: "red" }, "input/unknown-key"],
  ])("%s", (_, grid, options, code) => {
    expect(() => heatMap(grid, options)).toThrow(expect.objectContaining({ code }));
  });

  it("a place that a lens does not have", async () => {
    using lens = await logitLens(model, [1, 2], {});
    expect(() => heatMap(lens, { batch: 1 })).toThrow(PictureError);
    expect(() => heatMap(lens, { rank: 5 })).toThrow(/There is no rank 5; they go from 0 to 4/);
  });
});
