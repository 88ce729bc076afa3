/** docs/paper.md has every figure, as it is in the code, and the findings of the last report. */
import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { PAPER_PAGE, paperPage } from "../../scripts/docs-paper.ts";
import { FIGURES } from "../../src/paper/figures/index.ts";

it("is what figures and the last report say", () => {
  const page = paperPage();
  expect(readFileSync(PAPER_PAGE, "utf8"), "run npm run docs:paper").toBe(page);
  for (const { name, asks } of FIGURES) expect(page).toContain(`## ${name}\n\n${asks}\n`);
});
