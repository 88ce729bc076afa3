/** A mutant that names text which is no longer in the code proves nothing. `npm run mutate` runs them. */
import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { MUTANTS } from "../../scripts/mutants.ts";

it("each mutant changes one place of the code as it is", () => {
  const places = MUTANTS.map(({ name, file, from }) => {
    const text = readFileSync(new URL(`../../${file}`, import.meta.url), "utf8");
    return { name, places: text.split(from).length - 1 };
  });
  expect(places.filter((mutant) => mutant.places !== 1)).toEqual([]);
});

it("the page of tests says how many there are", () => {
  const page = readFileSync(new URL("../../docs/testing.md", import.meta.url), "utf8");
  expect(page).toContain(`lists ${MUTANTS.length} bugs`);
  expect(page).toContain(`runs the ${MUTANTS.filter(({ quick }) => quick).length} whose tests`);
});
