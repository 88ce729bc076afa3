/**
 * docs/architecture.md shows a block of gpt2: the drawing and the text are what `superlens inspect --graph` makes. Its table of
 * rooms is the one that `npm run deps` checks.
 */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { expect, it } from "vitest";
import { graphText } from "../../src/cli/show-graph.ts";
import { graphLines } from "../../src/graph/describe.ts";
import { drawSection } from "../../src/graph/draw.ts";
import { fixture } from "../graph/support.ts";

const COMMAND = "superlens inspect test/fixtures/families/gpt2 --graph --svg docs/graph-gpt2.svg";
const page = readFileSync("docs/architecture.md", "utf8");

it("has the drawing that the command makes", async () => {
  const { spec } = await fixture("gpt2");
  const svg = drawSection(graphText(spec), 0, spec.family);
  expect(readFileSync("docs/graph-gpt2.svg", "utf8"), `run npx ${COMMAND}`).toBe(svg);
  expect(page).toContain(COMMAND);
  expect(page).toContain("](graph-gpt2.svg)");
});

it("has the text of the block that the command prints", async () => {
  const { spec } = await fixture("gpt2");
  const lines = graphLines(graphText(spec), [0]);
  const end = lines.findIndex((line) => line.startsWith("after"));
  expect(page, "the block as it runs").toContain(lines.slice(end + 2).join("\n"));
});

it("has the rooms and what each may import", () => {
  const { forbidden } = createRequire(import.meta.url)("../../.dependency-cruiser.cjs") as {
    forbidden: { name: string; comment?: string }[];
  };
  const rules = forbidden.filter(({ name }) => name.endsWith("-imports-only-what-is-below-it"));
  const leaves = ["errors.ts", "abort.ts", "fnv1a.ts", "globals.ts"];
  const wanted = rules.map(({ comment = "" }): [string, string[]] => {
    const [, room = "", all = ""] = /^src\/(\w+) may import (.*)$/.exec(comment) ?? [];
    return [room, all.split(", ").filter((name) => !leaves.includes(name))];
  });
  const section = page.slice(page.indexOf("\n## Rooms"), page.indexOf("\n## One place"));
  const listed = [...section.matchAll(/^\| `(\w+)` \|.*\| ([\w, ]*?) ?\|$/gm)];
  expect(new Map(listed.map(([, room, may = ""]) => [room, may.split(", ").filter(Boolean)]))).toEqual(new Map(wanted));
});
