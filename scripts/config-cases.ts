/**
 * Runs changed configs of the fixtures, all that a file of `ConfigCase`s lists, and prints those that are wrong, refused though
 * transformers answers, or answered without effect though transformers refuses:
 *
 *   npm run config-cases -- CASES.json [FAMILY]
 */
import { readFileSync } from "node:fs";
import { CaseRunner, type ConfigCase, type OutcomeKind } from "../test/families/config-cases.ts";

const [file, family] = process.argv.slice(2);
if (!file) throw new Error("Name the file of cases.");
const cases: ConfigCase[] = JSON.parse(readFileSync(file, "utf8"));
const runner = new CaseRunner();
const counts: Record<OutcomeKind, number> = { equal: 0, refused: 0, harmless: 0, needless: 0, wrong: 0 };
for (const each of cases.filter((candidate) => family === undefined || candidate.family === family)) {
  const { kind, detail } = await runner.outcome(each);
  counts[kind] += 1;
  if (kind !== "equal" && kind !== "refused") {
    console.log(`${kind.padEnd(9)}${each.family}: ${each.case}\n         ${detail.split("\n")[0]}`);
  }
}
console.log(counts);
process.exit(counts.wrong > 0 ? 1 : 0);
