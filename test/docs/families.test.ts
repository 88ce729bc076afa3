/**
 * The table of docs/families.md is the one that its script prints: measuring takes minutes and five adapters, so the page's
 * own measurements are read and printed again.
 */
import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { FAMILY_ROWS, HOSTS, type Measurements, withTable } from "../../scripts/docs-families.ts";
import { FAMILIES, TOLERANCE } from "../cross-host/families.ts";
import { FAMILIES as FIXTURES } from "../support/fixtures.ts";

const page = readFileSync(new URL("../../docs/families.md", import.meta.url), "utf8");

/** Rows of the page's table of errors, as cells. */
const rows = page
  .slice(page.indexOf("<!-- family errors"), page.indexOf("<!-- end of family errors"))
  .split("\n")
  .filter((line) => line.startsWith("|"))
  .map((line) =>
    line
      .split("|")
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );

/** Errors that a cell shows, in units of 1e-7. */
function errorsIn(cell = "") {
  const [logits, residual, pattern] = cell.split(" · ").map((units) => Number(units) / 1e7) as [number, number, number];
  return { logits, residual, pattern };
}

/** A host's column, and where its errors stand. */
const measurements: Measurements = HOSTS.map(({ title }, host) => ({
  title,
  errors: new Map(FAMILY_ROWS.map(({ fixture }, row) => [fixture, errorsIn(rows[row + 2]?.[host + 2])])),
}));

it("is what the script prints of its measurements: npm run docs:families", () => {
  expect(withTable(page, measurements)).toBe(page);
});

it("has every family, within the bound", () => {
  expect(FAMILY_ROWS.map(({ fixture }) => fixture).sort()).toEqual([...FIXTURES].sort());
  expect([...FAMILIES].sort()).toEqual([...FIXTURES].sort());
  const errors = measurements.flatMap((host) => [...host.errors.values()].flatMap((each) => Object.values(each)));
  expect(errors).toHaveLength(3 * HOSTS.length * FIXTURES.length);
  for (const error of errors) expect(error).toBeLessThanOrEqual(TOLERANCE);
});
