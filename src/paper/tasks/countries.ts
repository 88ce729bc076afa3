/** `France->Paris`: a country's capital, its continent, or its name in upper case. */
import { continents, countries as world } from "countries-list";
import { lookUp, type TaskFamily } from "./family.ts";

/** A country with its capital. */
type Country = readonly [name: string, capital: string];

/** Countries whose name and capital are single words (of "New Delhi" and "Port Vila" the second), so that each is one token. */
const BY_CONTINENT: Readonly<Record<string, readonly Country[]>> = {
  Europe: [
    ["France", "Paris"],
    ["Germany", "Berlin"],
    ["Italy", "Rome"],
    ["Spain", "Madrid"],
    ["Portugal", "Lisbon"],
    ["Greece", "Athens"],
    ["Norway", "Oslo"],
    ["Poland", "Warsaw"],
  ],
  Asia: [
    ["China", "Beijing"],
    ["Japan", "Tokyo"],
    ["India", "Delhi"],
    ["Iran", "Tehran"],
    ["Iraq", "Baghdad"],
    ["Thailand", "Bangkok"],
    ["Vietnam", "Hanoi"],
    ["Nepal", "Kathmandu"],
  ],
  Africa: [
    ["Egypt", "Cairo"],
    ["Kenya", "Nairobi"],
    ["Ghana", "Accra"],
    ["Morocco", "Rabat"],
    ["Senegal", "Dakar"],
    ["Angola", "Luanda"],
  ],
  America: [
    ["Canada", "Ottawa"],
    ["Cuba", "Havana"],
    ["Peru", "Lima"],
    ["Chile", "Santiago"],
    ["Brazil", "Brasília"],
    ["Bolivia", "Sucre"],
  ],
  Oceania: [
    ["Fiji", "Suva"],
    ["Samoa", "Apia"],
    ["Tonga", "Nukuʻalofa"],
    ["Vanuatu", "Vila"],
  ],
};

/** 32 countries for models with a vocabulary of words. */
export function countries(): TaskFamily {
  return familyOf(BY_CONTINENT);
}

/** Every country whose capital is not its own name, for models with a tokenizer. Data: npm package countries-list. */
export function worldCountries(): TaskFamily {
  const byContinent: Record<string, Country[]> = {};
  for (const { name, capital, continent } of Object.values(world)) {
    if (capital === "" || capital === name) continue;
    byContinent[continents[continent]] ??= [];
    byContinent[continents[continent]]?.push([name, capital]);
  }
  return familyOf(byContinent);
}

function familyOf(byContinent: typeof BY_CONTINENT): TaskFamily {
  const rows = Object.entries(byContinent).flatMap(([continent, list]) =>
    list.map(([name, capital]) => ({ name, capital, continent, upper: name.toUpperCase() })),
  );
  const task = (answer: "capital" | "continent" | "upper") =>
    lookUp(answer, new Map(rows.map((row) => [row.name, row[answer]])), ([name = ""]) => name);
  return {
    name: "countries",
    inputs: [{ values: rows.map(({ name }) => name), after: "->" }],
    tasks: [task("capital"), task("continent"), task("upper")],
  };
}
