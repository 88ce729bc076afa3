/**
 * The tables of docs/families.md are those that its script prints: measuring takes minutes and five adapters, so the page's
 * own measurements are read and printed again.
 */
import { readdirSync, readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { FAMILY_ROWS, HOSTS, type Measurements, withTables } from "../../scripts/docs-families.ts";
import { FAMILIES as MODEL_TYPES } from "../../src/model/families/index.ts";
import { FAMILIES, TOLERANCE } from "../cross-host/families.ts";
import { TYPES } from "../cross-host/types.ts";
import { FAMILIES as FIXTURES } from "../support/fixtures.ts";

const page = readFileSync(new URL("../../docs/families.md", import.meta.url), "utf8");

/** Rows of one of the page's tables, as cells, without the head. */
const rowsOf = (name: string) =>
  page
    .slice(page.indexOf(`<!-- ${name}:`), page.indexOf(`<!-- end of ${name} -->`))
    .split("\n")
    .filter((line) => line.startsWith("|"))
    .slice(2)
    .map((line) =>
      line
        .split("|")
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );
const [families, types] = [rowsOf("family errors"), rowsOf("types")];

/** Errors that a cell shows, in units of 1e-7. */
function errorsIn(cell = "") {
  const [logits, residual, pattern] = cell.split(" · ").map((units) => Number(units) / 1e7) as [number, number, number];
  return { logits, residual, pattern };
}

/** A host's column, and where its errors stand. */
const measurements: Measurements = HOSTS.map(({ title }, host) => ({
  title,
  errors: new Map(FAMILY_ROWS.map(({ fixture }, row) => [fixture, errorsIn(families[row]?.[host + 2])])),
  types: new Map(TYPES.map((type, row) => [type, Number(types[row]?.[host + 2]) / 1e7])),
}));

it("is what the script prints of its measurements: npm run docs:families", () => {
  expect(withTables(page, measurements)).toBe(page);
});

it("has every family, within the bound", () => {
  expect(FAMILY_ROWS.map(({ fixture }) => fixture).sort()).toEqual([...FIXTURES].sort());
  expect([...FAMILIES].sort()).toEqual([...FIXTURES].sort());
  const errors = measurements.flatMap((host) => [...host.errors.values()].flatMap((each) => Object.values(each)));
  expect(errors).toHaveLength(3 * HOSTS.length * FIXTURES.length);
  for (const error of errors) expect(error).toBeLessThanOrEqual(TOLERANCE);
});

it("has every further type, within the bound", () => {
  expect(TYPES).toEqual(readdirSync(new URL("../fixtures/types/", import.meta.url)).sort());
  for (const { types } of measurements)
    for (const [type, error] of types) expect(error, type).toBeLessThanOrEqual(TOLERANCE);
});

it("README and the page of tests count the types and say how far they agree", () => {
  const read = (file: string) => readFileSync(new URL(`../../${file}`, import.meta.url), "utf8");
  const readme = read("README.md").replaceAll(/\s+/g, " ");
  const worst = (errors: Iterable<number>) => Math.ceil(1e6 * Math.max(...errors));
  const first = worst(measurements.flatMap(({ errors }) => [...errors.values()].map(({ logits }) => logits)));
  const further = worst(measurements.flatMap(({ types }) => [...types.values()]));
  expect(readme).toContain(`safetensors of ${MODEL_TYPES.size - 1} model types`); // all but "custom"
  expect(readme).toContain(`All ${FIXTURES.length} fixtures of the first families agree to ${first}e-6`);
  expect(readme).toContain(`${TYPES.length} of further types and settings to ${further}e-6`);
  expect(read("docs/testing.md")).toContain(`| ${TYPES.length} further model types and settings`);
});
