/** A figure as a job array on a real Slurm: the same bits as at once, also after a task was killed. Where there is none it says so. */
import { execFile, execFileSync } from "node:child_process";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, it } from "vitest";
import { inTempFolder } from "../checkpoint/support.ts";
import { ROOT, superlens } from "./support.ts";

const LAMBDA = ["paper", "lambda", "--model", `${ROOT}test/fixtures/paper/lc-d16-l2-h2`, "--quick"];

/** Whether a Slurm answers: `sbatch` alone may be there without one. */
function hasSlurm(): boolean {
  try {
    return execFileSync("sinfo", ["--noheader", "--format=%T"], { encoding: "utf8", stdio: "pipe" }).trim() !== "";
  } catch {
    return false;
  }
}

const slurm = async (command: string, ...args: string[]) => (await promisify(execFile)(command, args)).stdout.trim();

/** Waits until `squeue` says of a job what it should; of one that has ended it says nothing. */
async function until(job: string, isRight: (state: string) => boolean): Promise<void> {
  for (;;) {
    if (isRight(await slurm("squeue", "--noheader", "--format=%T", `--jobs=${job}`).catch(() => ""))) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

it("a job array gives the bits of an unsharded run; a killed task is named, and computed again", async () => {
  if (!hasSlurm())
    return console.warn("There is no Slurm here (sinfo does not answer): start one to check job arrays.");
  await inTempFolder(async (folder) => {
    const [whole, parts] = [join(folder, "whole"), join(folder, "parts")] as const;
    const submitted = await superlens([...LAMBDA, "--json", "--out", parts, "--slurm", "--tasks", "4"]);
    expect(submitted).toMatchObject({ code: 0, stderr: "" });
    const { job, merge } = JSON.parse(submitted.stdout) as { job: string; merge: string };
    await until(`${job}_2`, (state) => state === "RUNNING");
    await slurm("scancel", "--signal=KILL", `${job}_2`);
    await until(merge, (state) => state === "");
    const log = await readFile(join(parts, "slurm-merge.log"), "utf8");
    expect(log).toMatch(/ of 20 cells are missing in .*sbatch --array=2 .*shards\.sh\.\n$/);

    await slurm("sbatch", "--wait", "--array=2", join(parts, "shards.sh"));
    expect(await superlens(["paper", "merge", parts])).toMatchObject({ code: 0, stderr: "" });
    expect(await superlens([...LAMBDA, "--out", whole])).toMatchObject({ code: 0 });
    const files = (await readdir(whole, { recursive: true })).filter((name) => /\.\w+$/.test(name));
    expect(files.length).toBeGreaterThan(20);
    for (const file of files)
      expect(await readFile(join(parts, file), "utf8"), file).toBe(await readFile(join(whole, file), "utf8"));
  });
}, 300_000);
