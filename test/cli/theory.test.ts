/** `construct`, `demo` and `verify`: the constructed transformer on the command line. */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { readBlueprint } from "../../src/theory/index.ts";
import { inTempFolder } from "../checkpoint/support.ts";
import { LLAMA, ROOT, type Run, superlens } from "./support.ts";
import "../../src/node.ts";

function parsed({ code, stdout, stderr }: Run): Record<string, unknown> {
  expect({ code, stderr: stderr.replace(/^superlens: WebGPU adapter.*\n/, "") }).toEqual({ code: 0, stderr: "" });
  return JSON.parse(stdout) as Record<string, unknown>;
}

/** Exit code 1, one line on stderr, nothing on stdout. */
function expectOneLine({ code, stdout, stderr }: Run, message: RegExp): void {
  expect(stderr).toMatch(/^superlens: .*\n$/);
  expect(stderr).toMatch(message);
  expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
}

interface Look {
  prompt: string[];
  tasks: { task: string; weight: number; attention: number }[];
  tokens: { token: string; exact: number; model: number }[];
  largestDifference: number;
  explained: boolean;
}

describe("superlens demo", () => {
  it("tells the story as JSON: attention is the mixture, and WEIGHT moves it", async () => {
    const story = parsed(await superlens(["demo", "--json"])) as unknown as Record<string, Look>;
    const { first, second, patched, strange } = story;
    for (const look of [first, second, patched, strange] as Look[]) {
      expect(look.largestDifference).toBeLessThanOrEqual(2e-5);
      for (const { weight, attention } of look.tasks) expect(attention).toBeCloseTo(weight, 4);
      for (const { exact, model } of look.tokens) expect(model).toBeCloseTo(exact, 4);
    }
    expect(first?.tasks.map(({ weight }) => Math.round(12 * weight))).toEqual([6, 3, 2, 1]);
    expect(patched?.tasks.map(({ weight }) => weight)).toEqual(second?.tasks.map(({ weight }) => weight));
    expect(patched?.prompt).toEqual(first?.prompt);
    expect(strange).toMatchObject({ explained: false, tokens: [{ token: "<bos>" }] });
  });

  it("tells it to people, with bars", async () => {
    const { code, stdout } = await superlens(["demo"]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/digits +6 of 12 +\S+ +0\.5000 ████████████\n/);
    expect(stdout).toMatch(/no task explains these examples/);
    expect(stdout).toMatch(/npx superlens verify/);
    expect(stdout).not.toContain("\u001b[");
  });

  it("refuses prompts that the model was not built for, before it asks for a GPU", async () => {
    const one = "1+2->3, 2+2->";
    const many = `${"1+2->3, ".repeat(13)}2+2->`;
    expectOneLine(await superlens(["demo", "--prompt", one]), /1 example and .* exactly 12; add some/);
    expectOneLine(await superlens(["demo", "--prompt", many]), /13 examples .* exactly 12; drop some/);
    expectOneLine(
      await superlens(["demo", "--prompt", "1-2=3, 2+2->"]),
      /"1-2=3" is not written as \{a\}\+\{b\}->\{y\}/,
    );
    expectOneLine(
      await superlens(["demo", "--prompt", `${"1+2->3, ".repeat(12)}2+99->`]),
      /the query has the token "99"/,
    );
    expectOneLine(await superlens(["demo", "--prompt", "1+2->3"]), /leave the label of the last one out/);
    expectOneLine(await superlens(["demo", "--model", LLAMA]), /no "superposition" section/);
  });
});

describe("superlens construct", () => {
  it("writes a folder that the demo and every other command take", async () => {
    await inTempFolder(async (folder) => {
      const out = join(folder, "deep", "country");
      const built = parsed(await superlens(["construct", "country", "--examples", "3", "--out", out, "--json"]));
      expect(built).toMatchObject({ size: { m: 3, n: 2, K: 3 }, layers: 4, heads: 3, folder: out });
      expect((await readBlueprint(out)).examples).toBe(3);
      const prompt = "France->Paris, Japan->Asia, Italy->Rome, Sweden->?";
      const { first } = parsed(await superlens(["demo", "--model", out, "--prompt", prompt, "--json"])) as {
        first: Look;
      };
      expect(first.tokens.map(({ token }) => token)).toEqual(["Stockholm", "Europe"]);
      expect(first.tokens[0]?.model).toBeCloseTo(2 / 3, 4);
      const inspected = parsed(await superlens(["inspect", out, "--json"]));
      expect(inspected).toMatchObject({ spec: { family: "custom", nLayers: 4 } });
    });
  });

  it("writes seven layers, more heads, and tasks of one's own", async () => {
    await inTempFolder(async (folder) => {
      const mine = join(folder, "mine.json");
      const definition = {
        name: "mine",
        vocabulary: ["a", "b"],
        slots: [{ name: "x" }, { name: "y" }],
        tasks: [
          { name: "same", source: { slot: "x" }, map: "identity" },
          { name: "swap", source: { slot: "x" }, map: { table: { a: "b", b: "a" } } },
        ],
      };
      await writeFile(mine, JSON.stringify(definition));
      const out = join(folder, "out");
      const run = await superlens(["construct", mine, "--layers", "7", "--heads", "5", "--out", out, "--json"]);
      expect(parsed(run)).toMatchObject({ layers: 7, heads: 5, tasks: ["same", "swap"] });
      const config = JSON.parse(await readFile(join(out, "config.json"), "utf8")) as { model_type: string };
      expect(config.model_type).toBe("custom");
    });
  });

  it("does docs/theory.md's own example, and what the page says of it", async () => {
    const page = await readFile(`${ROOT}docs/theory.md`, "utf8");
    const [, written = ""] = /```json\n([^`]*"colours"[^`]*)```/.exec(page) ?? [];
    const [, prompt = ""] = /given `(red red, [^`]*)`/.exec(page) ?? [];
    const cases: [definition: string, shares: [string, number][]][] = [
      [
        written,
        [
          ["white", 0.75],
          ["black", 0.25],
        ],
      ],
      [
        written.replace('["black", "white"]', '["black", "red"]'),
        [
          ["red", 2 / 3],
          ["black", 1 / 3],
        ],
      ],
    ];
    for (const [definition, shares] of cases) {
      await inTempFolder(async (folder) => {
        await writeFile(join(folder, "colours.json"), definition);
        const out = join(folder, "out");
        parsed(await superlens(["construct", join(folder, "colours.json"), "--examples", "4", "--out", out, "--json"]));
        const { first } = parsed(await superlens(["demo", "--model", out, "--prompt", prompt, "--json"])) as {
          first: Look;
        };
        expect(first.tokens.map(({ token }) => token)).toEqual(shares.map(([token]) => token));
        for (const [i, [, share]] of shares.entries()) expect(first.tokens[i]?.model).toBeCloseTo(share, 4);
      });
    }
  });

  const word = (map: unknown, changes: object = {}) => ({
    name: "mine",
    vocabulary: ["1", "2"],
    slots: [{ name: "x" }, { name: "y" }],
    tasks: [{ name: "t", source: { slot: "x" }, map }],
    ...changes,
  });

  it.each<[string, unknown, RegExp]>([
    ["a token outside the vocabulary", word({ plus: 1 }), /task "t", for input "2", uses "3", which is not in the voc/],
    ["duplicate tokens", word("identity", { vocabulary: ["1", "1"] }), /token "1" is in the vocabulary twice/],
    [
      "sums out of range",
      word("identity", { sum: { operands: ["x"], values: { "1": 0, "2": 9 } } }),
      /sums run from 0 to 9, 10 values/,
    ],
    ["a map that is none", word({ times: 2 }), /tasks\[0\]\.map is \{"times":2\}; it must be one of identity/],
    ["a key that is none", word("identity", { task: [] }), /there is no "task" in definition\. The nearest is "tasks"/],
    ["a source that is none", word("identity", { tasks: [{ name: "t", source: "sums", map: "identity" }] }), /source/],
    ["a list", [], /mine\.json: definition is \[\]; it must be an object/],
  ])("refuses %s", async (_, definition, message) => {
    await inTempFolder(async (folder) => {
      const path = join(folder, "mine.json");
      await writeFile(path, JSON.stringify(definition));
      expectOneLine(await superlens(["construct", path, "--out", join(folder, "out")]), message);
    });
  });

  it("refuses what cannot be built, read or written", async () => {
    const unwritten = "never-written";
    expectOneLine(await superlens(["construct", "poetry", "--out", unwritten]), /no preset "poetry"; presets are/);
    const fewHeads = ["construct", "languages", "--heads", "3", "--out", unwritten];
    expectOneLine(await superlens(fewHeads), /4 heads are needed .* 3 were allowed/);
    expectOneLine(await superlens(["construct", "none.json", "--out", unwritten]), /no such file.*none\.json/);
    expectOneLine(await superlens(["construct", `${ROOT}LICENSE`, "--out", unwritten]), /LICENSE is not JSON/);
    const file = ["construct", "plus", "--out", `${ROOT}LICENSE/x`];
    expectOneLine(await superlens(file), /LICENSE\/x cannot be made/);
  });
});

describe("superlens verify", () => {
  it("measures a part, as JSON and as a table", async () => {
    const part = ["verify", "--grid", "cut", "--part", "resources"];
    const report = parsed(await superlens([...part, "--json"])) as { claims: { ok: boolean }[] };
    expect(report).toMatchObject({ grid: "cut", host: "node", ok: true });
    expect(report.claims.length).toBe(22);
    const { code, stdout } = await superlens(part);
    expect(code).toBe(0);
    expect(stdout).toMatch(/ok +d_model against d: slope +4 = 4/);
    expect(stdout).toMatch(/22 claims on node .* no bound missed/);
  });
});
