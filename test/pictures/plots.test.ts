/** Bars, points and triangles: what is drawn stands where its number says. */
import { describe, expect, it } from "vitest";
import { barChart, groupedBars, pointPlot, ternaryPlot } from "../../src/pictures/index.ts";
import { dataOf, titlesOf } from "./support.ts";

/** Width of each bar that has a tooltip: "M0,1h90v16h-90Z". */
const bars = (svg: string) =>
  [...svg.matchAll(/ d="M(-?[\d.]+),(-?[\d.]+)h(-?[\d.]+)v(-?[\d.]+)h[^>]*><title>/g)].map((found) =>
    found.slice(1).map(Number),
  );

describe("bars", () => {
  it("are as long as their numbers, and below 0 lie on the other side in another colour", async () => {
    const svg = await barChart({ Paris: 2, Rome: -1, Berlin: 0.5 }, { title: "logits", measure: "logit" }).svg();
    const [paris, rome, berlin] = bars(svg) as [number[], number[], number[]];
    expect(Math.abs(rome[2] as number) / (paris[2] as number)).toBeCloseTo(0.5, 2);
    expect((berlin[2] as number) / (paris[2] as number)).toBeCloseTo(0.25, 2);
    expect((rome[0] as number) + Math.abs(rome[2] as number)).toBeCloseTo(paris[0] as number, 1);
    expect(titlesOf(svg)).toEqual(["Paris: 2", "Rome: −1", "Berlin: 0.5"]);
    expect(svg.match(/#d55e00/g)).toHaveLength(1);
  });

  it("are the largest ones when there are many, or as many as were asked for", () => {
    const many = Float32Array.from({ length: 50 }, (_, index) => (index % 2 ? -index : index));
    const shown = dataOf<{ name: string; value: number }>(barChart(many));
    expect(shown).toHaveLength(40);
    expect(shown[0]).toEqual({ name: "49", value: -49 });
    expect(dataOf(barChart(many, { top: 2 }))).toEqual([
      { name: "49", value: -49 },
      { name: "48", value: 48 },
    ]);
    expect(dataOf(barChart([3, 5], { labels: ["a", "a"] }))).toEqual([
      { name: "0:a", value: 3 },
      { name: "1:a", value: 5 },
    ]);
    expect(() => barChart([3, 5], { labels: ["a"] })).toThrow(expect.objectContaining({ code: "picture/labels" }));
  });

  it("have a line from end to end of what they are the mean of", async () => {
    const whiskers = [
      [1, 4],
      [2, 2],
    ] as const;
    const svg = await barChart([2, 2], { whiskers }).svg();
    const [bar] = bars(svg) as [number[]];
    const unit = (bar[2] as number) / 2;
    const [line] = [
      ...svg.matchAll(/<line transform="translate\(([\d.]+),[\d.]+\)" x2="([\d.]+)" y2="0" stroke="currentColor"\/>/g),
    ];
    expect(Number(line?.[1])).toBeCloseTo((bar[0] as number) + unit, 0);
    expect(Number(line?.[2])).toBeCloseTo(3 * unit, 0);
    expect(() => barChart([1, 2], { whiskers: [[1, 2]] })).toThrow(/1 whiskers for 2 bars/);
  });

  it("stand in groups, in the order given, with a spread that stays within the scale", async () => {
    const groups = [
      {
        name: "z",
        bars: [
          { name: "one", value: 0.5, spread: 0.75 },
          { name: "two", value: 0.25, series: 4 },
        ],
      },
      { name: "a", bars: [{ name: "one", value: 1 }] },
    ];
    const picture = groupedBars(groups, { title: "groups", y: { label: "probability", from: 0, to: 1 } });
    const svg = await picture.svg();
    const heights = bars(svg).map(([, , , height]) => height as number);
    expect((heights[1] as number) / (heights[0] as number)).toBeCloseTo(0.5, 2);
    expect((heights[2] as number) / (heights[0] as number)).toBeCloseTo(2, 2);
    expect(titlesOf(svg)).toEqual(["one: 0.5 ± 0.75", "two: 0.25", "one: 1"]);
    expect(dataOf<{ low: number; high: number }>(picture)[0]).toMatchObject({ low: 0, high: 1 });
    expect(svg.indexOf(">z<")).toBeLessThan(svg.indexOf(">a<"));
  });
});

describe("points", () => {
  const x = { label: "lambda", from: 0, to: 1 };
  const y = { label: "probability", from: 0, to: 2 };

  it("lie where they should, joined in the order given", async () => {
    const line = [
      [0, 0],
      [0.5, 2],
      [0.25, 1],
    ] as const;
    const svg = await pointPlot([{ name: "one", line }], { title: "t", x, y, diagonal: true }).svg();
    expect(svg).toContain('d="M0,270L205,0L102.5,135"');
    expect(svg).toContain('d="M0,270L410,135"'); // up to 1, where x ends
    expect(titlesOf(svg)).toEqual(["one: 0, 0", "one: 0.5, 2", "one: 0.25, 1"]);
    for (const text of [">lambda<", ">probability<", ">one<"]) expect(svg).toContain(text);
  });

  it("are moved sideways by no more than asked, the same each time", async () => {
    const points = Array.from({ length: 20 }, () => [0.5, 1] as const);
    const plot = () => pointPlot([{ name: "one", points }], { x, y, jitter: 0.1 });
    const places = [...(await plot().svg()).matchAll(/transform="translate\(([\d.]+),135\)" d="/g)].map(([, at]) =>
      Number(at),
    );
    expect(places.length).toBeGreaterThanOrEqual(20);
    expect(Math.min(...places)).toBeGreaterThanOrEqual(0.4 * 410);
    expect(Math.max(...places)).toBeLessThanOrEqual(0.6 * 410);
    expect(new Set(places).size).toBeGreaterThan(15);
    expect(await plot().svg()).toBe(await plot().svg());
  });

  it("may be none", async () => {
    expect(await pointPlot([{ name: "one" }], { x, y: { label: "free" } }).svg()).toContain(">free<");
  });

  it.each<[string, unknown, object, string]>([
    ["a point of one number", [{ name: "a", line: [[1]] }], { x, y }, "input/argument"],
    ["NaN", [{ name: "a", line: [[1, Number.NaN]] }], { x, y }, "input/argument"],
    ["no axis", [{ name: "a", line: [[1, 1]] }], { x }, "input/argument"],
  ])("refuse %s", (_, series, options, code) => {
    expect(() => pointPlot(series as never, options as never)).toThrow(expect.objectContaining({ code }));
  });
});

it("a triangle has a point at a corner, in the middle, and fainter where the rest is elsewhere", async () => {
  const points = [
    [1, 0, 0],
    [0.2, 0.2, 0.2],
    [0, 0, 0.5],
  ];
  const picture = ternaryPlot(points, { title: "t", corners: ["a", "b", "c"] });
  const svg = await picture.svg();
  const marks = [...svg.matchAll(/translate\(([\d.]+),([\d.]+)\)"[^>]*opacity="([\d.]+)"[^>]*><title>([^<]*)/g)].map(
    ([, x, y, opacity, title]) => [...[x, y, opacity].map(Number), title],
  );
  expect(marks).toEqual([
    [0, 260, 0.7, "a: 1, b: 0, c: 0"],
    [150, expect.closeTo((260 * 2) / 3, 1), 0.46, "a: 0.2, b: 0.2, c: 0.2"],
    [150, 0, 0.4, "a: 0, b: 0, c: 0.5"],
  ]);
  expect(() => ternaryPlot([[1, 2]], { corners: ["a", "b", "c"] })).toThrow(/three numbers/);
});
