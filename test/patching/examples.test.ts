/**
 * The scripts in examples/ run, and the recipes show them as they are. They import the built package, as a user's do, and run
 * on a fixture with a vocabulary of a few pieces: what they print means nothing there, but it has to be there.
 */
import { execFile } from "node:child_process";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, it } from "vitest";
import { buildNode, isStale } from "../../scripts/build.mjs";
import { byDay } from "../support/nightly.ts";
import { runScript } from "../support/script.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
/** The pieces that the prompts fall into: as in the documented model, a space before the text and spaces after words. */
const PIECES = [
  ..."<unk> <s> ▁ cat dog bird ball Lily Lily▁ saw▁a▁ .▁She▁ liked▁the▁".split(" "),
  ..."a▁ girl▁ boy▁ named▁ Tom .▁He▁ One▁ day,▁".split(" "),
];

/** What each script prints, at the least. */
const PRINTS: Record<string, RegExp[]> = {
  "attention-pattern": [/layer \d, head \d: the last query gives "cat" \d\.\d\d/, /^L\dH\d\n.*\n<s>( +[\d.]+){7}$/m],
  "activation-patching": [/clean -?\d/, /^L0( +-?\d+\.\d\d){7}$/m, /each head's z[\s\S]*^L2( +-?\d+\.\d\d){4}$/m],
  "attribution-patching": [
    /^resid_pre, by attribution:\n.*\nL0( +-?\d+\.\d\d){7}$/m,
    /^12 cells: correlation -?\d\.\d{3}, largest error \d/m,
    /^worst: L\d, head \d: attribution -?\d/m,
    /^integrated gradients of "cat", from "bird": -?\d+\.\d\d, gap -?\d/m,
  ],
  ablation: [/^zero: change/m, /^mean: change/m, /^resample: change[\s\S]*^L2( +-?\d+\.\d\d){4}$/m],
  "causal-tracing": [/with noise of std \d/, /^L2( +\d\.\d{3}){7}$/m],
  circuits: [
    /^eap-ig-inputs: correlation.* -?\d\.\d\d$/m,
    /^-?\d+\.\d\d {2}\S+->\S+$/m,
    /^262 of 262 edges keep 1\.00/m,
  ],
  features: [
    /^step 40: \d+% unexplained$/m,
    /^logit\(\S+\) - logit\(\S+\) = -?\d+\.\d\d\n(feature \d+ at \S+: -?\d+\.\d\d, exact -?\d+\.\d\d\n){6}/m,
    /^without features [\d, ]+: \S+ \d+%, \S+ \d+%$/m,
  ],
  injection: [/without injection/, /^L2 +-?\d+\.\d\d$/m],
  "paths-and-circuits-of-heads": [
    /^logit\(cat\) - logit\(bird\)[\s\S]*^L2( +-?\d+\.\d\d){5}$/m,
    /^and through the values[^\n]*\n[^\n]*MLP\nL0( +-?\d+\.\d\d){5}$/m,
    /by position: (\d+\.\d +){6}\d+\.\d$/m,
    /^singular values of OV: [\s\S]*^ {2}or reads ("[^"]+" ?){5}, writes ("[^"]+" ?){5}$/m,
  ],
  pictures: [
    /^Most likely next token after each layer\n +<s>/m,
    /^Which residual carries the cat\n.*\nL0( +-?[\d.e-]+){7}$/m,
    /^Every head\nLayer 0, head 1\n.*\n<s>( +[\d.]+){7}$/m,
    /^Who says "cat" rather than "bird"\n.*\n\S+ +-?[\d.]+$/m,
  ],
  steering: [/^alpha 0: One day, .+/m, /^alpha 0.5: One day, .+/m],
};

let folder: string;

beforeAll(async () => {
  if (isStale()) await buildNode();
  folder = mkdtempSync(join(tmpdir(), "superlens-examples-"));
  for (const name of ["config.json", "model.safetensors"])
    cpSync(join(ROOT, "test/fixtures/families/gpt2", name), join(folder, name));
  writeFileSync(join(folder, "tokenizer.json"), JSON.stringify(storyTokenizer()));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** The parts of the documented model's tokenizer, but for its vocabulary: a space goes before every text. */
function storyTokenizer() {
  const special = { special: true, normalized: true, single_word: false, lstrip: false, rstrip: false };
  const replace = (from: string, to: string) => ({ type: "Replace", pattern: { String: from }, content: to });
  const strip = { type: "Strip", content: " ", start: 1, stop: 0 };
  return {
    version: "1.0",
    added_tokens: [
      { id: 0, content: "<unk>", ...special },
      { id: 1, content: "<s>", ...special },
    ],
    normalizer: { type: "Sequence", normalizers: [{ type: "Prepend", prepend: "▁" }, replace(" ", "▁")] },
    pre_tokenizer: null,
    post_processor: {
      type: "TemplateProcessing",
      single: [{ SpecialToken: { id: "<s>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
      pair: [],
      special_tokens: { "<s>": { id: "<s>", ids: [1], tokens: ["<s>"] } },
    },
    decoder: { type: "Sequence", decoders: [replace("▁", " "), { type: "ByteFallback" }, { type: "Fuse" }, strip] },
    model: {
      type: "Unigram",
      unk_id: 0,
      byte_fallback: false,
      vocab: Array.from({ length: 96 }, (_, id) => [PIECES[id] ?? `word${id}`, -1]),
    },
  };
}

const scripts = readdirSync(join(ROOT, "examples")).filter((name) => name.endsWith(".ts"));

it("covers every script", () => {
  expect(scripts.sort()).toEqual(
    Object.keys(PRINTS)
      .map((name) => `${name}.ts`)
      .sort(),
  );
});

function expectPrinted(output: string, name: string): void {
  for (const pattern of PRINTS[name] as RegExp[]) expect(output).toMatch(pattern);
  expect(output).not.toMatch(/NaN|undefined|Infinity/);
}

const names = Object.keys(PRINTS);

/** One trains for ten seconds; what it calls runs by day in test/modules. */
it.each(byDay(names, (name) => name !== "features"))("%s runs", async (name) => {
  expectPrinted((await runScript(join(ROOT, `examples/${name}.ts`), [folder])).printed, name);
});

it.each(byDay(names, ["attention-pattern"]))("%s runs by itself, as a person runs it", async (name) => {
  const args = ["--import", "tsx", `examples/${name}.ts`, folder];
  expectPrinted((await promisify(execFile)(process.execPath, args, { cwd: ROOT })).stdout, name);
});

it.each(names)("%s is what its recipe shows", (name) => {
  const page = readFileSync(join(ROOT, name === "pictures" ? "docs/pictures.md" : `docs/recipes/${name}.md`), "utf8");
  const shown = [...page.matchAll(/```ts\n([\s\S]*?)```/g)].map(([, code]) => code);
  expect(shown).toContain(readFileSync(join(ROOT, `examples/${name}.ts`), "utf8"));
});
