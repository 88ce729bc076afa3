/** What a picture becomes: an SVG of the same bytes each time, a page that needs nothing else, a table, and what a notebook shows. */
import { build } from "esbuild";
import { describe, expect, it } from "vitest";
import { bundleOptions } from "../../scripts/build.mjs";
import { heatMap, pointPlot } from "../../src/pictures/index.ts";
import { visible } from "../../src/pictures/labels.ts";
import { goldenPicture } from "./golden.ts";

const grid = () =>
  heatMap(
    [
      [1, -2],
      [3, 0.5],
    ],
    { title: 'A "title" & <more>', measure: "logit", rows: ["a", "b"] },
  );

describe("an SVG", () => {
  it("is the same text whatever is drawn beside it", async () => {
    const others = [
      heatMap([[5, 6]]),
      pointPlot([{ name: "p", line: [[0, 1]] }], { x: { label: "x" }, y: { label: "y" } }),
    ];
    const [first, ...rest] = await Promise.all([grid().svg(), ...others.map((other) => other.svg()), grid().svg()]);
    expect(rest.at(-1)).toBe(first);
    expect(await grid().svg()).toBe(first);
    const ids = (svg: string) => [...svg.matchAll(/ id="([^"]+)"/g)].map(([, id]) => id);
    expect(ids(first)).toHaveLength(1);
    expect(ids(first)).not.toEqual(ids(rest[0] as string));
  });

  it("is that of the fixture, which other hosts draw too", async () => {
    await expect(await goldenPicture().svg()).toMatchFileSnapshot("../fixtures/pictures/heat-map.svg");
  });

  it("has a name, and takes the colours of light and dark", async () => {
    const svg = await grid().svg();
    expect(svg).toMatch(/^<svg [^>]*aria-label="A &quot;title&quot; &amp; &lt;more&gt;"/);
    expect(svg).toContain("prefers-color-scheme:dark");
    expect(svg).toContain('fill="currentColor"');
    expect(svg).not.toMatch(/NaN|undefined|Infinity|fill="black"/);
  });
});

it("a page holds all it needs, and lets nothing else load", async () => {
  const html = await grid().html();
  expect(html).toContain(`content="default-src 'none'; style-src 'unsafe-inline'"`);
  expect(html.replaceAll(/xmlns(:\w+)?="[^"]*"/g, "")).not.toMatch(/https?:|<script|<link|@import|url\((?!#)/);
  expect(html).toContain("<title>A &quot;title&quot; &amp; &lt;more&gt;</title>");
  expect(html).toContain((await grid().svg()).trim());
  expect(html).toContain("<tr><td>b</td><td>3</td><td>0.5</td></tr>");
});

it("a table has aligned columns", () => {
  expect(grid().text()).toBe('A "title" & <more>\n   0    1\na  1   -2\nb  3  0.5\n');
});

it("a notebook gets text, SVG, HTML and the specification", async () => {
  const picture = grid() as unknown as Record<symbol, () => Promise<Record<string, unknown>>>;
  const bundle = await picture[Symbol.for("Jupyter.display")]?.();
  expect(bundle).toEqual({
    "text/plain": grid().text(),
    "image/svg+xml": await grid().svg(),
    "text/html": `<div>${await grid().svg()}</div>`,
    "application/vnd.vegalite.v6+json": grid().spec,
  });
  expect(JSON.parse(JSON.stringify(grid().spec))).toEqual(grid().spec);
});

it.each([
  ["a\nb\tc\r", "a\\nb\\tc\\r"],
  ["  two ", "··two·"],
  ["a b", "a b"],
  ["\u0000\u200b\ufeff\ud800", "\\u0000\\u200b\\ufeff\\ud800"],
  ["\u00a0\u3000", "\\u00a0\\u3000"],
  ["\u{e0001}", "\\u{e0001}"],
  ["é語🐈", "é語🐈"],
])("%j is visible as %s", (text, shown) => expect(visible(text)).toBe(shown));

it("Vega is loaded when something is drawn, and by nothing else", async () => {
  const { metafile } = await build({
    ...bundleOptions,
    entryPoints: ["src/node.ts", "src/pictures/index.ts", "src/cli/run.ts"],
    platform: "node",
    packages: "external",
    outdir: "unwritten",
    write: false,
    metafile: true,
  });
  const vega = Object.entries(metafile.inputs).flatMap(([file, { imports }]) =>
    imports.filter(({ path }) => /^vega/.test(path)).map(({ path, kind }) => [file, path, kind]),
  );
  expect(vega).toEqual(
    ["vega", "vega-lite", "vega-interpreter"].map((name) => ["src/pictures/render.ts", name, "dynamic-import"]),
  );
});
