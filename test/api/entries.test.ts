/**
 * The entries of the package: one copy of each class, whichever of them a program imports, and nothing in a page that
 * it did not import. Programs are run from the built files, by the package's name.
 */
import { execFile } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { build, type Plugin } from "esbuild";
import { beforeAll, describe, expect, it } from "vitest";
import { buildNode, bundleOptions, isStale, webOptions } from "../../scripts/build.mjs";
import { byDay } from "../support/nightly.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const run = promisify(execFile);

/** A program that only a host with a file system answers in this way. */
const OPENS_A_FOLDER = `
  import { loadSuperposition } from "superlens/theory";
  await loadSuperposition("no/such/folder").catch(({ code, message }) => print([code, message.includes("no/such/folder")]));`;

/** What a program prints, read as JSON. It ends with `print(…)`. */
async function answerOf(program: string): Promise<unknown> {
  const text = `const print = (value) => console.log(JSON.stringify(value));\n${program}`;
  const running = run(process.execPath, ["--input-type=module", "-"], { cwd: ROOT });
  running.child.stdin?.end(text);
  return JSON.parse((await running).stdout);
}

/** Finds the entries for a page in src/, where no build has joined the files yet. */
const SOURCES: Plugin = {
  name: "entries-in-src",
  setup({ onResolve }) {
    onResolve({ filter: /^superlens(\/|$)/ }, ({ path }) => ({
      path: join(ROOT, "src", path.slice("superlens".length), "index.ts"),
    }));
  },
};

/** The files of `node_modules` and of src/ that esbuild puts into a page with this program. */
async function inputsOf(program: string): Promise<string[]> {
  const { metafile } = await build({
    ...webOptions,
    stdin: { contents: program, resolveDir: ROOT },
    write: false,
    metafile: true,
    plugins: [SOURCES],
  });
  return Object.keys(metafile.inputs);
}

/** What a page with the engine alone has no use for. */
const APART = /(^|\/)(n2words|countries-list|vega[\w-]*|d3[\w-]*)\/|^src\/(theory|paper|train|bench|pictures|cli)\//;

beforeAll(async () => {
  if (isStale()) await buildNode();
});

describe("on Node, by the package's name", () => {
  it("an error or a model from the theory is of the engine's classes", async () => {
    const answer = await answerOf(`
      import { CheckpointError, Gpu, HookedModel, SuperlensError } from "superlens";
      import { loadPreset, loadSuperposition, TheoryError } from "superlens/theory";
      const errorOf = async (call) => { try { await call(); } catch (error) { return error; } };
      const unknown = await errorOf(() => loadPreset("no-such-preset"));
      const missing = await errorOf(() => loadSuperposition("no/such/folder"));
      const { model } = await loadSuperposition("weights/superposition");
      print({
        theoryError: unknown instanceof TheoryError && unknown instanceof SuperlensError,
        checkpointError: missing instanceof CheckpointError,
        model: model instanceof HookedModel,
        gpu: model.gpu instanceof Gpu,
      });
      model.destroy();`);
    expect(answer).toEqual({ theoryError: true, checkpointError: true, model: true, gpu: true });
  });

  it.each(["superlens/theory", "superlens, then superlens/theory"])("%s opens a folder", async (imports) => {
    const answer = await answerOf(`
      ${imports.startsWith("superlens,") ? 'import "superlens";' : ""}
      ${OPENS_A_FOLDER}`);
    expect(answer).toEqual(["checkpoint/no-folder", true]);
  });
});

describe("a bundler", () => {
  const entries = ["theory", "paper", "train", "bench"].flatMap((entry) => [`${entry}.node`, `${entry}.deno`]);

  it.each(byDay(entries, ["theory.node", "bench.deno"]))("keeps what %s registers", async (entry) => {
    const { metafile } = await build({
      ...bundleOptions,
      stdin: { contents: `import * as all from "./src/${entry}.ts"; console.log(all);`, resolveDir: ROOT },
      platform: "node",
      packages: "external",
      write: false,
      metafile: true,
    });
    const [output] = Object.values(metafile.outputs);
    const host = entry.split(".")[1];
    expect(Object.keys(output?.inputs ?? {})).toEqual(
      expect.arrayContaining([`src/${host}.ts`, `src/hosts/${host}.node.ts`]),
    );
  });
});

it("no source names a file of the tests, which a package does not bring", () => {
  const sources = readdirSync(join(ROOT, "src"), { recursive: true, encoding: "utf8" }).filter((path) =>
    /\.ts$/.test(path),
  );
  const named = sources.filter((path) => /["'`](\.\.?\/)*test\//.test(readFileSync(join(ROOT, "src", path), "utf8")));
  expect(named).toEqual([]);
});

describe("in a page", () => {
  it("the engine brings neither theory, training nor the benchmark", async () => {
    const inputs = await inputsOf('import { loadModel } from "superlens"; await loadModel("x");');
    expect(inputs).toContain("src/model/load.ts");
    expect(inputs.filter((path) => APART.test(path))).toEqual([]);
  });

  it("tokenizers and chat templates are chunks of their own, loaded when they are needed", async () => {
    const { metafile } = await build({
      ...webOptions,
      stdin: { contents: 'import { loadModel } from "superlens"; await loadModel("x");', resolveDir: ROOT },
      splitting: true,
      outdir: "out",
      write: false,
      metafile: true,
      plugins: [SOURCES],
    });
    const lazy = /node_modules\/(@huggingface\/jinja|gpt-tokenizer)\/|^src\/tokenizer\/huggingface\.ts/;
    const [page] = Object.entries(metafile.outputs).find(([, { entryPoint }]) => entryPoint) as [string, unknown];
    const atOnce = new Set<string>();
    const visit = (path: string) => {
      if (atOnce.has(path)) return;
      atOnce.add(path);
      for (const { kind, path: next } of metafile.outputs[path]?.imports ?? [])
        if (kind === "import-statement") visit(next);
    };
    visit(page);
    const inputs = (paths: string[]) => paths.flatMap((path) => Object.keys(metafile.outputs[path]?.inputs ?? {}));
    expect(inputs([...atOnce])).toContain("src/model/load.ts");
    expect(inputs([...atOnce]).filter((path) => lazy.test(path))).toEqual([]);
    expect(inputs(Object.keys(metafile.outputs)).some((path) => path.includes("@huggingface/jinja"))).toBe(true);
  });

  it("each other entry brings itself and the engine", async () => {
    const theory = await inputsOf('export * from "superlens/theory";');
    expect(theory).toEqual(expect.arrayContaining(["src/theory/build.ts", "src/model/load.ts"]));
    expect(theory.some((path) => path.includes("n2words"))).toBe(true);
    expect(theory.filter((path) => path.startsWith("src/bench/"))).toEqual([]);
    const train = await inputsOf('export * from "superlens/train";');
    expect(train).toEqual(expect.arrayContaining(["src/train/train.ts", "src/model/load.ts"]));
    expect(train.filter((path) => /^src\/(theory|bench)\//.test(path))).toEqual([]);
    const bench = await inputsOf('export * from "superlens/bench";');
    expect(bench).toEqual(expect.arrayContaining(["src/bench/run.ts", "src/model/load.ts"]));
    expect(bench.filter((path) => path.startsWith("src/theory/"))).toEqual([]);
    const pictures = await inputsOf('export * from "superlens/pictures";');
    expect(pictures).toContain("src/pictures/heat-map.ts");
    expect(pictures.filter((path) => /^src\/(?!pictures\/|schema\/|errors\.ts$|fnv1a\.ts$)/.test(path))).toEqual([]);
  });
});
