/** `superlens`, `superlens/theory` and `superlens/bench`: one class each, whichever entry it comes through, and nothing unasked for. */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { build } from "esbuild";
import { beforeAll, describe, expect, it } from "vitest";
import { buildNode, GROUPS, isStale, webOptions } from "../../scripts/build.mjs";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const UNASKED = /^src\/(theory|bench)[/.]|node_modules\/(n2words|countries-list)\//;

/** The files that a page gets, now or on demand, when it imports all of an entry. */
async function inputsOf(entry: string): Promise<string[]> {
  const contents = `import * as all from "./${entry}"; globalThis.all = all;`;
  const stdin = { contents, resolveDir: ROOT };
  const { metafile } = await build({ ...webOptions, stdin, minify: true, write: false, metafile: true });
  return Object.keys(metafile.inputs);
}

describe("what a page gets", () => {
  it("is engine and hooks alone from superlens", async () => {
    const inputs = await inputsOf("src/index.ts");
    expect(inputs).toContain("src/hooks/hooked-model.ts");
    expect(inputs.filter((file) => UNASKED.test(file))).toEqual([]);
  });

  it("is the words and countries from superlens/theory, and the benchmark from superlens/bench", async () => {
    const [theory, bench] = [await inputsOf("src/theory.ts"), await inputsOf("src/bench.ts")];
    for (const part of ["src/theory/", "node_modules/n2words/", "node_modules/countries-list/"])
      expect(
        theory.filter((file) => file.startsWith(part)),
        part,
      ).not.toEqual([]);
    expect(bench.filter((file) => UNASKED.test(file) && !file.startsWith("src/bench"))).toEqual([]);
    expect(bench).toContain("src/bench/run.ts");
  });
});

it.each(Object.entries(GROUPS))("each source lies in one file of the bundles for %s", async (_, group) => {
  const { metafile } = await build({ ...group, outdir: "dist", write: false, metafile: true });
  const places = new Map<string, string[]>();
  for (const [output, { inputs }] of Object.entries(metafile.outputs))
    for (const [input, { bytesInOutput }] of Object.entries(inputs))
      if (bytesInOutput > 0) places.set(input, [...(places.get(input) ?? []), output]);
  expect(places.has("src/errors.ts")).toBe(true);
  expect([...places].filter(([, outputs]) => outputs.length > 1)).toEqual([]);
});

describe("the package, as Node resolves it", () => {
  beforeAll(async () => {
    if (isStale()) await buildNode();
  });

  it("throws errors through one entry that are of the other's classes, and registers the host with each", async () => {
    const script = `
      const theory = await import("superlens/theory");
      const built = theory.buildSuperposition(await theory.loadPreset("letters"), { examples: 2 });
      const loaded = await theory.loadSuperposition("weights/superposition", { quiet: true });
      const errors = [];
      for (const wrong of [
        () => theory.loadPreset("none"),
        () => theory.promptIds(built.program, 0, {}),
        () => theory.observe(loaded, { examples: [], query: [] }),
      ]) await Promise.resolve().then(wrong).catch((error) => errors.push(error));
      const superlens = await import("superlens");
      console.log(JSON.stringify({
        errors: errors.map((error) => error instanceof superlens.SuperlensError && error.code),
        isTheory: errors[0] instanceof theory.TheoryError,
        model: loaded.model instanceof superlens.HookedModel,
        source: theory.inMemory(built) instanceof superlens.FilesSource,
        bench: typeof (await import("superlens/bench")).runBench,
      }));
      loaded.model.destroy();
    `;
    const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", script], {
      cwd: ROOT,
    });
    expect(JSON.parse(stdout)).toEqual({
      errors: ["theory/definition", "input/argument", expect.stringMatching(/^(hook|input)\//)],
      isTheory: true,
      model: true,
      source: true,
      bench: "function",
    });
  });
});
