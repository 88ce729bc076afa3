/** `superlens paper` as a process: help, shards and their merge, job scripts, and what is refused. */
import { execFile } from "node:child_process";
import { readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";
import { slurmOptions } from "../../src/cli/paper/slurm.ts";
import { buildProgram } from "../../src/cli/program.ts";
import { inTempFolder } from "../checkpoint/support.ts";
import { ROOT, superlens, superlensProcess } from "./support.ts";

const MODEL = `${ROOT}test/fixtures/paper/lc-d16-l2-h2`;
/** Its answers are spelled, a character a token. */
const SPELLING = `${ROOT}test/fixtures/paper/number-chars-d32-l2-h4`;
const MIXTURES = ["paper", "mixtures", "--model", MODEL, "--quick"];

const failure = (code: number, stderr: RegExp) => ({ code, stdout: "", stderr: expect.stringMatching(stderr) });

it("lists the figures with their questions, and teaches one by what the paper found", async () => {
  const all = await superlens(["paper", "--help"]);
  expect(all).toMatchObject({ code: 0, stderr: "" });
  expect(all.stdout).toMatch(/ {2}mixtures .*With examples of several tasks in one prompt/);
  expect(all.stdout).toMatch(/ {2}merge .*join the cells of shards/);
  const { stdout } = await superlens(["paper", "lambda", "--help"]);
  expect(stdout).toMatch(/Usage: superlens paper lambda/);
  expect(stdout).toMatch(/The paper: .*follow lambda almost linearly/);
});

it("gives the same files in shards as at once; what is missing is named, what is there is not computed again", async () => {
  await inTempFolder(async (folder) => {
    const [whole, parts] = [join(folder, "whole"), join(folder, "parts")] as const;
    const run = await superlens([...MIXTURES, "--json", "--out", whole]);
    expect(run.code).toBe(0);
    const { out, verdict, table } = JSON.parse(run.stdout) as { out: string; verdict: string; table: { rows: [] } };
    expect({ out, verdict }).toEqual({ out: whole, verdict: expect.stringMatching(/agrees/) });
    expect(table.rows).toHaveLength(7);

    const first = await superlens([...MIXTURES, "--shard", "1/2", "--out", parts]);
    expect(first).toMatchObject({ code: 0, stdout: expect.stringContaining(`superlens paper merge ${parts}`) });
    const [cell] = await readdir(join(parts, "cells"));
    expect(cell).toBe("countries-0.json");
    expect(await superlens(["paper", "merge", parts])).toMatchObject(
      failure(1, /^superlens: 1 of 2 cells are missing in .*: number-words-0\. .*\n$/),
    );
    const { mtimeMs } = await stat(join(parts, "cells/countries-0.json"));
    expect(await superlens([...MIXTURES, "--shard", "0/2", "--out", parts])).toMatchObject({ code: 0 });
    const merged = await superlens(["paper", "merge", parts]);
    expect(merged).toMatchObject({ code: 0, stderr: "" });
    expect(merged.stdout).toContain(`${parts}/index.html has the plots`);
    expect((await stat(join(parts, "cells/countries-0.json"))).mtimeMs).toBe(mtimeMs);
    const files = (await readdir(whole, { recursive: true })).filter((name) => /\.\w+$/.test(name)).sort();
    expect(files).toContain("mixtures.svg");
    for (const file of files)
      expect(await readFile(join(parts, file), "utf8"), file).toBe(await readFile(join(whole, file), "utf8"));
  });
});

describe("refuses", () => {
  it.each<[string, string[], RegExp]>([
    ["an unknown figure", ["paper", "lamda"], /unknown command 'lamda'[\s\S]*Did you mean lambda/],
    ["a shard that is not there", [...MIXTURES, "--shard", "2/2"], /i from 0 to n - 1/],
    ["a shard of a job array", [...MIXTURES, "--slurm", "--shard", "0/2"], /'--slurm' cannot be used with .*'--shard/],
    ["tasks of no job array", [...MIXTURES, "--tasks", "3"], /--tasks is for --slurm/],
    [
      "a report of one name for two",
      ["paper", "all", "--model", "a/mini", "--model", "b/mini"],
      /two models are called mini/,
    ],
    ["a word that no option takes", [...MIXTURES, "gpu"], /gpu belongs to no option; options of sbatch follow --/],
    ["one beside options of sbatch", [...MIXTURES, "--slurm", "gpu", "--", "--time=10"], /gpu belongs to no option/],
    ["options for nobody", [...MIXTURES, "--", "--time=10"], /--time=10 is for sbatch: give --slurm/],
  ])("%s, as wrong usage", async (_, args, message) => {
    expect(await superlens(args)).toMatchObject(failure(2, message));
  });

  it("a folder that cannot be, one of other settings, and one without a run", async () => {
    await inTempFolder(async (folder) => {
      const file = join(folder, "file");
      await writeFile(file, "");
      const run = (out: string) => superlens(["paper", "mixtures", "--model", MODEL, "--quick", "--out", out]);
      expect(await run(file)).toMatchObject(failure(1, /file is no folder that you may write to/));
      expect(await superlens(["paper", "merge", file])).toMatchObject(
        failure(1, /file is not a folder that can be read/),
      );
      expect(await superlens(["paper", "merge", folder])).toMatchObject(failure(1, /has no run\.json/));
      await writeFile(join(folder, "run.json"), JSON.stringify({ figure: "lambda", hash: "1", settings: {} }));
      expect(await run(folder)).toMatchObject(failure(1, /holds "lambda" with other settings/));
    });
  });
});

it("writes the script of a job array where there is no Slurm, and it runs", async () => {
  await inTempFolder(async (folder) => {
    const out = join(folder, "it's here");
    const args = [...MIXTURES, "--out", out, "--slurm", "--tasks=2", "--", "--partition=gpu", "--comment=a b"];
    const { code, stdout, stderr } = await superlensProcess(args, undefined, [], { env: { PATH: folder } });
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    expect(stderr).toMatch(/^superlens: There is no sbatch on this machine\. .*shards\.sh is written/);
    const script = await readFile(join(out, "shards.sh"), "utf8");
    expect(script.split("\n").filter((line) => line.startsWith("#SBATCH"))).toEqual([
      "#SBATCH --job-name=superlens-mixtures",
      "#SBATCH --array=0-1",
      `#SBATCH --output='${join(out, "slurm-%a.log").replace("'", "'\\''")}'`,
      "#SBATCH --partition=gpu '--comment=a b'",
    ]);
    const env = { ...process.env, SLURM_ARRAY_TASK_ID: "1" };
    await promisify(execFile)("bash", [join(out, "shards.sh")], { env, cwd: folder });
    expect(await readdir(join(out, "cells"))).toEqual(["countries-0.json"]);
    expect(await superlens(["paper", "merge", out])).toMatchObject(
      failure(1, /sbatch --array=0 .*shards\.sh\. \[paper\/missing-cells, .*\]\n$/),
    );
  });
});

it("counts n-grams in the text of --text, which the run keeps; other figures take none", async () => {
  await inTempFolder(async (folder) => {
    const [text, out] = [join(folder, "text.txt"), join(folder, "decode")] as const;
    const lines = "->seven\n->eight\n->one\n";
    await writeFile(text, lines);
    const decode = ["paper", "decode", "--model", SPELLING, "--quick", "--out", out, "--text"];
    expect(await superlens([...decode, join(folder, "none.txt")])).toMatchObject(
      failure(1, /none\.txt cannot be read/),
    );
    expect(await superlens([...decode, text])).toMatchObject({
      code: 0,
      stdout: expect.stringContaining("with n-grams"),
    });
    expect(JSON.parse(await readFile(join(out, "run.json"), "utf8")).settings.text).toBe(lines);
    expect(await superlens([...MIXTURES, "--text", text])).toMatchObject(failure(2, /unknown option '--text'/));
  });
});

/** What options are given here; those that take no value are known by that. */
const VALUES: Record<string, string> = {
  ...{ "--adapter": "swiftshader", "--weights-as": "q8_0" },
  ...{ "--residency": "streamed", "--resident-bytes": "100000000" },
  ...{ "--model": MODEL, "--out": "", "--text": "" },
};

it.each(["decode", "purity"])(
  "the script of a job array gives its tasks every option that %s was given",
  async (figure) => {
    await inTempFolder(async (folder) => {
      const text = join(folder, "text.txt");
      await writeFile(text, "one two");
      const values = { ...VALUES, "--out": folder, "--text": text };
      const program = buildProgram();
      const command = program.commands
        .find((one) => one.name() === "paper")
        ?.commands.find((one) => one.name() === figure);
      const ofSlurm = slurmOptions().map(({ long }) => long);
      const options = [...program.options, ...(command?.options ?? [])].filter(
        ({ long }) => ![...ofSlurm, "--shard", "--version"].includes(long as string),
      );
      const given = options.flatMap(({ long, required }) => {
        if (!required) return [long as string];
        const value = values[long as keyof typeof values];
        expect(value, `a value of ${long} for this test`).toBeDefined();
        return [long as string, value];
      });
      expect(given.includes("--text")).toBe(figure === "decode");
      const args = ["paper", figure, "--slurm", ...given, "--tasks", "3", "--", "--partition=gpu"];
      expect(await superlensProcess(args, undefined, [], { env: { PATH: folder } })).toMatchObject({
        code: 1,
        stdout: "",
      });
      const script = await readFile(join(folder, "shards.sh"), "utf8");
      expect(script.trim().split("\n").at(-1)).toMatch(
        ` --no-tune paper ${figure} ${given.join(" ")} --shard "$SLURM_ARRAY_TASK_ID/3"`,
      );
    });
  },
);
