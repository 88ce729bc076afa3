/** Preset `country`: a country's capital, its continent, or its name in capitals. Data: npm package countries-list. */
import { continents, countries, type ICountry } from "countries-list";
import type { TaskDefinition } from "../definition.ts";
import { TheoryError } from "../errors.ts";

/** ISO 3166-1 alpha-2 codes of the countries used by default: two to four from each inhabited continent. */
const CODES = ["FR", "IT", "SE", "JP", "IN", "TH", "EG", "KE", "GH", "CA", "MX", "CU", "BR", "PE", "CL", "AU", "FJ"];

/** `codes`: ISO codes of the countries to use; each must have a capital other than its own name. */
export function country({ codes = CODES }: { codes?: string[] } = {}): TaskDefinition {
  const chosen = codes.map(findCountry);
  const names = chosen.map(({ name }) => name);
  const capitals = chosen.map(({ name, capital }): [string, string] => [name, capital]);
  const lands = chosen.map(({ name, continent }): [string, string] => [name, continents[continent]]);
  const answers = [...capitals, ...lands].map(([, answer]) => answer);
  return {
    name: "country",
    description: "the country's capital, its continent, or its name in capitals",
    vocabulary: [...new Set([...names, ...answers, ...names.map((name) => name.toUpperCase())])],
    slots: [{ name: "country", tokens: names }, { name: "y" }],
    template: "{country}->{y}",
    tasks: [
      { name: "capital", source: { slot: "country" }, map: { pairs: capitals } },
      { name: "continent", source: { slot: "country" }, map: { pairs: lands } },
      { name: "capitalised", source: { slot: "country" }, map: "upper" },
    ],
  };
}

function findCountry(code: string): ICountry {
  const found = Object.entries(countries).find(([candidate]) => candidate === code)?.[1];
  if (found !== undefined && found.capital !== "" && found.capital !== found.name) return found;
  const fault = found === undefined ? "is no ISO 3166-1 alpha-2 code" : `(${found.name}) has no capital of its own`;
  throw new TheoryError("theory/definition", `country code ${code} ${fault}; choose another`);
}
