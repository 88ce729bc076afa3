/**
 * Prints what superlens runs into docs/families.md: every fixture of test/fixtures/types with its largest error of logits on this
 * machine's software adapter, and what is special of its type:
 *
 *   npm run docs:types
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { FAMILY_NOTES } from "../src/model/families/notes.ts";
import { loadParts } from "../src/model/load.ts";
import { Model } from "../src/model/model.ts";
import { goldenIn, readLogits } from "../test/support/fixtures.ts";
import { testGpu } from "../test/support/gpu.ts";
import { relativeError } from "../test/support/numbers.ts";

const ROOT = fileURLToPath(new URL("../test/fixtures/types/", import.meta.url));
const PAGE = fileURLToPath(new URL("../docs/families.md", import.meta.url));
const START = "<!-- types: written by scripts/docs-types.ts -->";
const END = "<!-- end of types -->";

async function errorOf(name: string): Promise<number> {
  using model = new Model(await loadParts(ROOT + name, { gpu: await testGpu() }));
  const { ids, values } = await goldenIn(ROOT + name);
  return relativeError(await readLogits(model.forward(ids)), values.get("logits") as Float32Array);
}

const lines = ["| model_type | what is special | logits |", "| --- | --- | ---: |"];
for (const name of readdirSync(ROOT)) {
  const { model_type: type } = JSON.parse(readFileSync(`${ROOT}${name}/config.json`, "utf8")) as { model_type: string };
  const label = name === type ? `\`${type}\`` : `\`${type}\` (${name})`;
  lines.push(`| ${label} | ${FAMILY_NOTES[type] ?? ""} | ${((await errorOf(name)) * 1e7).toFixed(1)} |`);
}
const page = readFileSync(PAGE, "utf8");
const [from, to] = [page.indexOf(START), page.indexOf(END)];
if (from < 0 || to < from) throw new Error(`The page lacks the marks ${START} and ${END}: put them around its table.`);
writeFileSync(PAGE, `${page.slice(0, from + START.length)}\n\n${lines.join("\n")}\n\n${page.slice(to)}`);
process.exit(0);
