/** `superlens lens`, `attention` and `patch` as processes: what they print and draw is what the library gives. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { heatTable } from "../../src/cli/heat-table.ts";
import { activationPatch, type HookedModel, type LensToken, logitLens, metric } from "../../src/hooks/index.ts";
import { inTempFolder } from "../checkpoint/support.ts";
import { hooked } from "../hooks/support.ts";
import { numberOf, titlesOf } from "../pictures/support.ts";
import { relativeError } from "../support/numbers.ts";
import { json, LLAMA, superlens, superlensProcess } from "./support.ts";

const IDS = [5, 6, 7, 9];
// biome-ignore lint/suspicious/noControlCharactersInRegex: the terminal's codes
const CODES = /\u001b\[[\d;]*m/g;

let model: HookedModel;
beforeAll(async () => {
  model = await hooked("llama");
});
afterAll(() => model.destroy());

it("lens prints a token for each layer and position, and draws the same", async () => {
  using lens = await logitLens(model, IDS);
  await inTempFolder(async (folder) => {
    const [svg, html] = [join(folder, "lens.svg"), join(folder, "lens.html")];
    const run = await superlens(["lens", LLAMA, "--ids", IDS.join(" "), "--svg", svg, "--html", html, "--quiet"]);
    expect(run).toMatchObject({ code: 0, stderr: "" });
    const lines = run.stdout.trimEnd().split("\n");
    expect(lines[0]?.trim().split(/\s+/)).toEqual(IDS.map((id, position) => `${position}:#${id}`));
    lens.labels.forEach((label, layer) => {
      const tokens = IDS.map((_, position) => `#${lens.at(label, position)[0]?.token}`);
      expect(lines[layer + 1]?.split(/\s+/).filter((word) => word.startsWith("#"))).toEqual(tokens);
    });
    const drawn = titlesOf(await readFile(svg, "utf8"));
    expect(drawn).toHaveLength(lens.labels.length * IDS.length);
    const at = lens.at("final_post", 3)[0] as LensToken;
    expect(drawn.at(-1)).toMatch(new RegExp(`^final_post, 3:#9, #${at.token}: `));
    expect(numberOf(drawn.at(-1) as string)).toBeCloseTo(at.probability, 5);
    expect(await readFile(html, "utf8")).toContain(await readFile(svg, "utf8"));
  });
  const { layers, top } = await json<{ layers: string[]; top: LensToken[][][] }>([
    "lens",
    LLAMA,
    "--ids",
    IDS.join(" "),
    "--quiet",
  ]);
  expect(layers).toEqual(lens.labels);
  expect(
    top
      .at(-1)
      ?.at(-1)
      ?.map(({ token }) => token),
  ).toEqual(lens.at("final_post").map(({ token }) => token));
});

describe("attention", () => {
  const args = ["attention", LLAMA, "--ids", IDS.join(" "), "--quiet"];

  it("gives the patterns as JSON", async () => {
    const { patterns, tokens } = await json<{
      patterns: { layer: number; head: number; weights: number[][] }[];
      tokens: string[];
    }>(args);
    using run = await model.forward(IDS, { capture: "*.hook_pattern" });
    expect(tokens).toEqual(IDS.map((id, position) => `${position}:#${id}`));
    expect(patterns).toHaveLength(model.spec.nLayers * model.spec.nHeads);
    for (const { layer, head, weights } of patterns) {
      const expected = await run.cache.read(`blocks.${layer}.attn.hook_pattern`, { heads: head });
      expect(relativeError(weights.flat(), expected)).toBeLessThan(1e-4);
    }
  });

  it("prints the whole pattern of one head, and of several where each looks from the last token, and draws them", async () => {
    const one = await superlens([...args, "--layer", "0", "--head", "1"]);
    const lines = one.stdout.trimEnd().split("\n");
    expect(lines).toHaveLength(1 + IDS.length);
    expect(lines[1]).toMatch(/^0:#5 +1\.00 *$/);
    await inTempFolder(async (folder) => {
      const svg = join(folder, "heads.svg");
      const several = await superlens([...args, "--layer", "1", "--svg", svg]);
      expect(several).toMatchObject({ code: 0, stderr: "" });
      expect(several.stdout).toMatch(/^from 3:#9 to\nL1H0 {2}[\d.]+% \d:#\d/);
      expect(several.stdout.trimEnd().split("\n")).toHaveLength(1 + model.spec.nHeads);
      const titles = titlesOf(await readFile(svg, "utf8"));
      expect(titles).toHaveLength((model.spec.nHeads * IDS.length * (IDS.length + 1)) / 2);
      expect(titles[0]).toMatch(/^L1H0, 0:#5 to 0:#5: 1$/);
    });
  });
});

describe("patch", () => {
  const prompts = { clean: IDS, corrupted: [5, 8, 7, 9] };
  const asked = ["--ids", "--clean", prompts.clean.join(" "), "--corrupted", prompts.corrupted.join(" ")];
  const args = ["patch", LLAMA, ...asked, "--metric", "logitDiff(5,7)", "--quiet"];

  it("gives the grid as JSON", async () => {
    const direction = "noising";
    const grid = await activationPatch(model, { ...prompts, metric: metric.logitDiff(5, 7), at: "z", direction });
    const found = await json<{ values: number[][]; base: number }>([...args, "--at", "z", "--direction", direction]);
    expect(relativeError(found.values.flat(), grid.values)).toBeLessThan(1e-4);
    expect(found.base).toBeCloseTo(grid.base, 4);
  });

  it("prints it between 0 and 1, in colours if they are asked for", async () => {
    const grid = await activationPatch(model, { ...prompts, metric: metric.logitDiff(5, 7), at: "resid_pre" });
    const { stdout } = await superlensProcess(args, undefined, [], { env: { FORCE_COLOR: "1" } });
    expect(stdout.match(CODES)).toHaveLength(2 * grid.values.length);
    const numbers = [...stdout.replace(CODES, "").matchAll(/-?\d\.\d{3}(?!\d)/g)].map(([number]) => Number(number));
    expect(numbers).toHaveLength(grid.values.length);
    grid.normalized().forEach((value, cell) => {
      expect(numbers[cell]).toBeCloseTo(value, 2);
    });
  });
});

describe("a table in colours", () => {
  const cells = [[-1, 0, 1]].map((row) => row.map((value) => ({ text: String(value), value })));
  const table = { rows: ["L0"], columns: ["a", "b\n", "c"], cells, from: -1, to: 1, scale: "diverging" } as const;

  it("goes from red over white to blue", () => {
    const [, line] = heatTable(table, { colours: true, width: undefined });
    const codes = [...(line as string).matchAll(/48;5;(\d+);38;5;(\d+)m/g)].map(([, back, ink]) => [
      Number(back),
      Number(ink),
    ]);
    expect(codes).toEqual([
      [88, 231],
      [255, 16],
      [18, 231],
    ]);
  });

  it("goes on below where the columns do not fit", () => {
    expect(heatTable(table, { colours: false, width: 12 })).toEqual([
      "     a  b\\n",
      "L0  -1    0",
      "",
      "    c",
      "L0  1",
    ]);
    expect(heatTable(table, { colours: false, width: 2 })).toHaveLength(8);
  });
});
