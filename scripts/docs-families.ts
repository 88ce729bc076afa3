/**
 * Measures every family and further type against Hugging Face on every host and writes the tables into docs/families.md:
 *
 *   npm run docs:families
 *
 * It needs what the cross-host tests need, and lavapipe (Debian: mesa-vulkan-drivers). A host or family that fails ends it
 * before anything is written: the tables hold measurements of one run, or they are the old ones.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { FAMILY_NOTES } from "../src/model/families/notes.ts";
import { FAMILIES, familyChecks } from "../test/cross-host/families.ts";
import { type Check, createContext, runCheck } from "../test/cross-host/harness.ts";
import { type CheckResult, NIGHT, ONLY } from "../test/cross-host/protocol.ts";
import { runChromium } from "../test/cross-host/run-chromium.ts";
import { runDeno } from "../test/cross-host/run-deno.ts";
import { SUITE_FOLDERS } from "../test/cross-host/runner.ts";
import { suite } from "../test/cross-host/suite.ts";
import { TYPES, typeChecks } from "../test/cross-host/types.ts";
import { serve } from "./hosts/serve.ts";
import "../src/node.ts";

/** A fixture and what sets its architecture apart. */
export interface FamilyRow {
  /** Folder of `test/fixtures/families/`. */
  fixture: (typeof FAMILIES)[number];
  modelType: string;
  /** What its fixture covers that a plain GPT-2 or Llama would not. */
  special: string;
}

export const FAMILY_ROWS: readonly FamilyRow[] = [
  { fixture: "gpt2", modelType: "gpt2", special: "learned positions, LayerNorm, weights stored [in, out]" },
  {
    fixture: "gpt_neox",
    modelType: "gpt_neox",
    special: "attention and MLP in parallel, a norm each; RoPE on part of each head",
  },
  { fixture: "gpt_neox_sequential", modelType: "gpt_neox", special: "the same, one after the other" },
  { fixture: "llama", modelType: "llama", special: "RMSNorm, RoPE, gated MLP, grouped-query attention" },
  { fixture: "llama3_rope", modelType: "llama", special: "llama3 RoPE scaling" },
  { fixture: "mistral", modelType: "mistral", special: "attention window in every layer" },
  { fixture: "qwen2", modelType: "qwen2", special: "biases on q, k, v" },
  { fixture: "qwen3", modelType: "qwen3", special: "norm of each head's q and k, head width of its own" },
  { fixture: "gemma", modelType: "gemma", special: "scaled embedding, norm weights stored less one, tied head" },
  { fixture: "gemma2", modelType: "gemma2", special: "norms before and after, soft caps, alternating window" },
  { fixture: "gemma3", modelType: "gemma3_text", special: "two RoPEs, q and k norm, five windows to one full layer" },
  { fixture: "phi", modelType: "phi", special: "parallel behind one norm, biases everywhere, partial RoPE" },
  { fixture: "phi3", modelType: "phi3", special: "q, k, v packed, gate and up packed, window" },
  { fixture: "olmo2", modelType: "olmo2", special: "norms only after attention and MLP; q and k norm over all heads" },
  { fixture: "opt", modelType: "opt", special: "learned positions two rows late, ReLU" },
  { fixture: "gptj", modelType: "gptj", special: "parallel behind one norm, interleaved partial RoPE, biased head" },
  { fixture: "gpt_neo", modelType: "gpt_neo", special: "local attention in every second layer, unscaled scores" },
  { fixture: "bloom", modelType: "bloom", special: "ALiBi, norm after the embedding" },
  { fixture: "falcon", modelType: "falcon", special: "multi-query attention, parallel blocks" },
  {
    fixture: "starcoder2",
    modelType: "starcoder2",
    special: "Llama's attention with LayerNorm, biases and a plain MLP",
  },
  { fixture: "stablelm", modelType: "stablelm", special: "LayerNorm, partial RoPE, gated MLP" },
  {
    fixture: "cohere",
    modelType: "cohere",
    special: "parallel behind a LayerNorm without bias, interleaved RoPE, scaled logits",
  },
  { fixture: "granite", modelType: "granite", special: "multipliers on embedding, scores, residual and logits" },
  { fixture: "smollm3", modelType: "smollm3", special: "layers without RoPE" },
];

/** Where the suite runs, as the heading of a column. */
export const HOSTS: {
  title: string;
  adapter: "lavapipe" | "swiftshader";
  run: () => Promise<readonly CheckResult[]>;
}[] = [
  { title: "Node (Dawn), lavapipe", adapter: "lavapipe", run: runNode },
  { title: "Node (Dawn), SwiftShader", adapter: "swiftshader", run: runNode },
  { title: "Deno (wgpu), lavapipe", adapter: "lavapipe", run: () => runElsewhere(runDeno) },
  { title: "Deno (wgpu), SwiftShader", adapter: "swiftshader", run: () => runElsewhere(runDeno) },
  { title: "Chromium (Dawn), SwiftShader", adapter: "swiftshader", run: () => runElsewhere(runChromium) },
];

/** Relative errors of one family on one host. */
interface Errors {
  logits: number;
  residual: number;
  pattern: number;
}

/** For each host, the errors of each family's fixture, and of the logits of each further type. */
export type Measurements = { title: string; errors: ReadonlyMap<string, Errors>; types: ReadonlyMap<string, number> }[];

const MEASURED: readonly Check[] = [...suite.slice(0, 1), ...familyChecks, ...typeChecks];

async function runElsewhere(run: typeof runDeno): Promise<readonly CheckResult[]> {
  const names = MEASURED.map(({ name }) => name).join("|");
  return (await run({ isPrinting: true, args: [NIGHT, `${ONLY}^(${names})$`] })).results;
}

async function runNode(): Promise<readonly CheckResult[]> {
  const server = await serve(SUITE_FOLDERS);
  const context = createContext("node", server.origin, false);
  const results: CheckResult[] = [];
  for (const check of MEASURED) results.push(await runCheck(check, context));
  (await context.gpu()).device.destroy();
  await server.close();
  return results;
}

async function measure(): Promise<Measurements> {
  const measurements: Measurements = [];
  for (const { title, adapter, run } of HOSTS) {
    process.env.SUPERLENS_ADAPTER = adapter;
    const results = await run();
    const failed = results.find(({ ok }) => !ok);
    if (failed) throw new Error(`${title}: ${failed.name}: ${failed.note}`);
    const named = results.find(({ name }) => name === suite[0]?.name);
    if (!named?.note.includes(`(${adapter})`)) throw new Error(`${title} ran on ${named?.note ?? "nothing"}.`);
    measurements.push({
      title,
      errors: new Map(FAMILIES.map((family) => [family, errorsOf(results, family)])),
      types: new Map(TYPES.map((type) => [type, errorOf(results, type)])),
    });
    console.error(`${title}: done`);
  }
  return measurements;
}

const NOTE = /^logits (\S+), residual (\S+), pattern (\S+)$/;

function errorsOf(results: readonly CheckResult[], family: (typeof FAMILIES)[number]): Errors {
  const name = familyChecks[FAMILIES.indexOf(family)]?.name;
  const match = NOTE.exec(results.find((result) => result.name === name)?.note ?? "");
  if (!match) throw new Error(`No result for ${family}.`);
  const [logits, residual, pattern] = match.slice(1).map(Number) as [number, number, number];
  return { logits, residual, pattern };
}

function errorOf(results: readonly CheckResult[], type: (typeof TYPES)[number]): number {
  const name = typeChecks[TYPES.indexOf(type)]?.name;
  const match = /^logits (\S+)$/.exec(results.find((result) => result.name === name)?.note ?? "");
  if (!match) throw new Error(`No result for ${type}.`);
  return Number(match[1]);
}

const row = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
/** In units of 1e-7, which is about the precision of float32. */
const units = (value: number) => (value * 1e7).toFixed(1);

/** Lines for fixtures and a column a host. */
function table(measurements: Measurements, lines: readonly string[]): string {
  const heads = ["model_type", "what is special", ...measurements.map(({ title }) => title)];
  return [row(heads), row(heads.map((_, index) => (index < 2 ? "---" : "---:"))), ...lines].join("\n");
}

const labelOf = (fixture: string, type: string) => (fixture === type ? `\`${type}\`` : `\`${type}\` (${fixture})`);

/** A cell has the errors of logits, residuals and patterns. */
const familyTable = (measurements: Measurements) =>
  table(
    measurements,
    FAMILY_ROWS.map(({ fixture, modelType, special }) =>
      row([
        labelOf(fixture, modelType),
        special,
        ...measurements.map(({ errors }) => cell(errors.get(fixture) as Errors)),
      ]),
    ),
  );

const cell = ({ logits, residual, pattern }: Errors) => [logits, residual, pattern].map(units).join(" · ");

/** A cell has the error of the logits. */
const typeTable = (measurements: Measurements) =>
  table(
    measurements,
    TYPES.map((name) => {
      const config = new URL(`../test/fixtures/types/${name}/config.json`, import.meta.url);
      const { model_type: type } = JSON.parse(readFileSync(config, "utf8")) as { model_type: string };
      const cells = measurements.map(({ types }) => units(types.get(name) as number));
      return row([labelOf(name, type), FAMILY_NOTES[type] ?? "", ...cells]);
    }),
  );

/** The tables, by what stands before and after them. */
const TABLES = [
  ["<!-- family errors: written by scripts/docs-families.ts -->", "<!-- end of family errors -->", familyTable],
  ["<!-- types: written by scripts/docs-families.ts -->", "<!-- end of types -->", typeTable],
] as const;

/** The page with its tables replaced. */
export function withTables(page: string, measurements: Measurements): string {
  return TABLES.reduce((text, [start, end, tableOf]) => {
    const [from, to] = [text.indexOf(start), text.indexOf(end)];
    if (from < 0 || to < from)
      throw new Error(`The page lacks the marks ${start} and ${end}: put them around its table.`);
    return `${text.slice(0, from + start.length)}\n\n${tableOf(measurements)}\n\n${text.slice(to)}`;
  }, page);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const measurements = await measure();
  const file = fileURLToPath(new URL("../docs/families.md", import.meta.url));
  writeFileSync(file, withTables(readFileSync(file, "utf8"), measurements));
}
