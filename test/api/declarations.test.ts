/**
 * The declarations that the package ships compile in a project that has nothing else, whatever `lib` it chose, with TypeScript 5
 * and the newest, and take what the calls take at run time. The newest is `typescript-newest` of package.json.
 */
import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { promisify } from "node:util";
import { afterAll, describe, expect, it } from "vitest";
import { byDay } from "../support/nightly.ts";
import { declarationsByPath, ROOT } from "./emit.ts";

/** What a user writes. It is compiled, never run. */
const SOURCE = `
import { ablate, type Edit, type HookedModel, type KvCache, loadModel, metric, type Tensor } from "superlens";
import { DEFAULT_OPTIONS, runBench } from "superlens/bench";
import { loadSuperposition, type TaskDefinition } from "superlens/theory";

const model = await loadModel("folder");
const ids = Int32Array.of(1, 2, 3);
await model.forward(ids);
await model.forward([ids, [1, 2]], { logits: Int32Array.of(0), positions: ids, capture: "*" });
await model.forward({ inputsEmbeds: [[1, 2], new Float64Array(2)] });
await model.logProbs(ids, [ids, " text", [1]]);
for await (const { text } of model.generate(ids, { eos: Uint32Array.of(2), history: [ids] })) text.trim();
const edit: Edit = { at: "*.hook_z", op: "set", value: new Float64Array(2), heads: Uint8Array.of(0), dims: 1 };
const three: number = await model.withEdits(edit, () => 3);
const also: number = await model.withEdits(edit, async (edited) => (await edited.forward(ids)).logits.vocabSize);
await model.runWithHooks(ids, { hook_embed: (x) => Float64Array.from(x) });
await model.runWithHooks(ids, { hook_embed: async (x) => Array.from(x) });
await ablate(model, { input: ids, kind: "zero", metric: metric.kl(new Float64Array(3)), layers: ids });
metric.logits(ids);
using kv: KvCache = model.createKvCache({ sequences: 2 });
const [one, several]: [number[], number[][]] = [model.toTokens("text"), model.toTokens(["text", "more"])];
const [text, texts]: [string, string[]] = [model.toText(ids), model.toText(several)];
const [words, lists]: [string[], string[][]] = [model.toStrTokens(one), model.toStrTokens([text, ids])];
await model.forward(several, { kv });
using tensor: Tensor = model.gpu.tensor([three, also], "mine");
const device: GPUDevice = model.gpu.device;
const { shape, data }: { shape: readonly number[]; data: Float32Array } = await model.weight(model.weightNames()[0] ?? "W_E");
const theirs: HookedModel = (await loadSuperposition("folder")).model;
const definition: TaskDefinition = (await loadSuperposition("folder")).blueprint.program.definition;
const report = await runBench({ shape: "mini" }, { ...DEFAULT_OPTIONS, runs: definition.tasks.length, commit: "1" });
report.commit.trim();
theirs.destroy();
// @ts-expect-error The theory is an entry of its own.
import { verify } from "superlens";
// @ts-expect-error The key-value cache is kv.
await model.forward(ids, { cache: kv });
// @ts-expect-error There is no such option.
await model.forward(ids, { position: 3 });
// @ts-expect-error Ids are numbers.
await model.forward([true]);
// @ts-expect-error 64-bit integers are no ids.
await model.forward(BigInt64Array.of(1n));
`;

const SETTINGS = [
  ["es2022", "esnext", "bundler"],
  ["es2022", "node16", "node16"],
  ["es2022,dom", "nodenext", "nodenext"],
] as const;

const COMPILERS = ["typescript", "typescript-newest"] as const;

/** A project that has our declarations, as an install lays them, and nothing else. */
function userProject(): string {
  const project = mkdtempSync(join(tmpdir(), "superlens-types-"));
  const installed = join(project, "node_modules/superlens");
  for (const [path, text] of declarationsByPath()) {
    const copy = join(installed, relative(ROOT, path));
    mkdirSync(dirname(copy), { recursive: true });
    writeFileSync(copy, text);
  }
  symlinkSync(join(ROOT, "package.json"), join(installed, "package.json"));
  writeFileSync(join(project, "package.json"), '{ "type": "module" }');
  writeFileSync(join(project, "user.ts"), SOURCE);
  return project;
}

const project = userProject();
afterAll(() => rmSync(project, { recursive: true }));

/** What a compiler says of the script. */
async function complaintsOf(compiler: string, settings: readonly string[]): Promise<string> {
  const tsc = join(ROOT, "node_modules", compiler, "bin/tsc");
  const run = promisify(execFile)(process.execPath, [tsc, ...settings, "user.ts"], { cwd: project });
  return run.then(
    ({ stdout }) => stdout,
    (error: { stdout: string }) => error.stdout || String(error),
  );
}

describe.each(COMPILERS)("the package's declarations, with %s", (compiler) => {
  it.each(compiler === "typescript" ? byDay(SETTINGS, SETTINGS.slice(1, 2)) : SETTINGS)(
    "compile in a project with nothing else: lib %s, module %s, resolution %s",
    async (lib, module, resolution) => {
      const settings = ["--strict", "--noEmit", "--skipLibCheck", "false", "--target", "es2022"];
      const chosen = ["--lib", lib, "--module", module, "--moduleResolution", resolution];
      expect(await complaintsOf(compiler, [...settings, ...chosen])).toBe("");
    },
  );
});

it.each(byDay(COMPILERS, ["typescript-newest"]))(
  "the package's declarations, with %s, are read: a wrong call is an error",
  async (compiler) => {
    writeFileSync(join(project, "wrong.ts"), 'import { loadModel } from "superlens";\nloadModel(3);\n');
    const complaints = await complaintsOf(compiler, [
      "--noEmit",
      "--lib",
      "es2022",
      "--module",
      "nodenext",
      "wrong.ts",
    ]);
    expect(complaints).toContain("wrong.ts(2,11): error TS2345");
  },
);
