/** A selection of changed configs: transformers' logits, or an error with a type; never other numbers. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { CaseRunner, type ConfigCase } from "./config-cases.ts";

const CASES: ConfigCase[] = JSON.parse(readFileSync(new URL("../fixtures/config-cases.json", import.meta.url), "utf8"));
const runner = new CaseRunner();

describe.each([...new Set(CASES.map(({ family }) => family))])("%s", (family) => {
  it("answers as transformers does, or refuses what transformers refuses", async () => {
    const problems: string[] = [];
    for (const each of CASES.filter((candidate) => candidate.family === family)) {
      const { kind, detail } = await runner.outcome(each);
      if (kind === "wrong" || kind === "needless") problems.push(`${each.case}: ${kind}, ${detail}`);
    }
    expect(problems).toEqual([]);
  });
});
