/**
 * Runs changed configs of all fixtures and lists what is wrong, refused although transformers answers, or answered
 * although transformers refuses:
 *
 *   npm run config-cases -- CASES.json [FAMILY]
 */
import { readFileSync } from "node:fs";
import { CaseRunner, type ConfigCase, type Outcome } from "../test/families/config-cases.ts";

const [file = "test/fixtures/config-cases.json", family] = process.argv.slice(2);
const all = JSON.parse(readFileSync(file, "utf8")) as ConfigCase[];
const cases = all.filter((each) => family === undefined || each.family === family);
const runner = new CaseRunner();
const found: { each: ConfigCase; outcome: Outcome }[] = [];
for (const each of cases) found.push({ each, outcome: await runner.outcome(each) });

/** What transformers did, for a heading. */
function expectation({ error, load }: ConfigCase): string {
  if (error !== undefined) return "transformers refuses";
  return load === undefined ? "transformers answers" : "transformers lacks weights";
}

const groups = new Map<string, { each: ConfigCase; outcome: Outcome }[]>();
for (const entry of found) {
  const name = `${entry.outcome.kind}, ${expectation(entry.each)}`;
  groups.set(name, [...(groups.get(name) ?? []), entry]);
}
const SILENT = ["equal, transformers answers", "refused, transformers refuses", "refused, transformers lacks weights"];
for (const [name, entries] of groups) {
  if (SILENT.includes(name)) continue;
  console.log(`\n## ${name}`);
  for (const { each, outcome } of entries) {
    console.log(`${each.family}: ${each.case}\n    ${outcome.detail.split("\n")[0]}`);
  }
}
console.log();
for (const [name, entries] of groups) console.log(`${String(entries.length).padStart(5)}  ${name}`);
process.exit(found.some(({ outcome }) => outcome.kind === "wrong" || outcome.kind === "crash") ? 1 : 0);
