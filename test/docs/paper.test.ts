/** docs/paper.md has every figure, as it is in the code, and the findings of the last report; other pages name all figures and presets. */
import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { PAPER_PAGE, paperPage } from "../../scripts/docs-paper.ts";
import { FIGURES } from "../../src/paper/figures/index.ts";
import { TRAINING_PRESET_NAMES } from "../../src/paper/index.ts";

it("is what figures and the last report say", () => {
  const page = paperPage();
  expect(readFileSync(PAPER_PAGE, "utf8"), "run npm run docs:paper").toBe(page);
  for (const { name, asks } of FIGURES) expect(page).toContain(`## ${name}\n\n${asks}\n`);
});

it.each([
  ["cli.md", FIGURES.map(({ name }) => name)],
  ["training.md", TRAINING_PRESET_NAMES],
])("%s has a row for each", (page, names) => {
  const text = readFileSync(new URL(`../../docs/${page}`, import.meta.url), "utf8");
  const first = [...text.matchAll(/^\| (`[^|]*`) \|/gm)].flatMap(([, cell]) => (cell as string).split(", "));
  expect(first).toEqual(expect.arrayContaining(names.map((name) => `\`${name}\``)));
});
