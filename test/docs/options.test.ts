/** docs/options.md says of each option what its schema takes and what its interface's comment says. */
import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { OPTIONS_PAGE, optionsPage } from "../../scripts/docs-options.ts";

it("is what the schemas and interfaces say", () => {
  expect(optionsPage(), "an option without a comment").not.toMatch(/\| {2}\|$/m);
  expect(readFileSync(OPTIONS_PAGE, "utf8"), "run npm run docs:options").toBe(optionsPage());
});
