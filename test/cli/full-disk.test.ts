/**
 * A full disk ends a run with a clear error and loses nothing: what was written before is whole, and the run goes on from there.
 * A limit on the size of files stands for the disk where no GPU is at work (drivers keep memory in files), a small tmpfs where one is.
 */
import { execFile, spawnSync } from "node:child_process";
import { mkdir, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { beforeAll, expect, it } from "vitest";
import { buildNode, isStale } from "../../scripts/build.mjs";
import { inTempFolder } from "../checkpoint/support.ts";
import { byDay } from "../support/nightly.ts";
import { ROOT, superlens } from "./support.ts";

beforeAll(async () => {
  if (isStale()) await buildNode();
});

/** Runs a program of the package, whose files may have so many kB; gives the JSON that it prints. */
async function limited(kilobytes: number | "unlimited", program: string): Promise<unknown> {
  const command = ["-c", 'ulimit -f "$0" && exec "$1" --input-type=module -e "$2"', String(kilobytes)];
  const { stdout } = await promisify(execFile)("bash", [...command, process.execPath, program], { cwd: ROOT });
  return JSON.parse(stdout);
}

/** A figure of three cells, of which each is larger than the one before; it prints what came of it and what ran. */
const figureIn = (folder: string) => `
  import { runFigure } from "superlens/paper";
  const ran = [];
  const figure = {
    name: "sizes", asks: "How long?", paper: "Long.",
    settings: async () => ({}),
    cells: () => [1, 2, 3].map((n) => ({ id: "n-" + n, n })),
    run: async ({ n }) => (ran.push(n), "x".repeat(1500 * n)),
    summarise: () => ({ table: { columns: ["n"], rows: [] }, plots: [], sentence: "Long.", verdict: "agrees" }),
  };
  const subjects = { count: 1, at: async () => ({}) };
  const error = await runFigure(figure, subjects, { store: ${JSON.stringify(folder)} }).then(() => undefined, (error) => error);
  console.log(JSON.stringify({ ran, code: error?.code, message: error?.message }));`;

async function figureOnFullDisk(): Promise<void> {
  await inTempFolder(async (folder) => {
    expect(await limited(4, figureIn(folder))).toEqual({
      ran: [1, 2, 3],
      code: "checkpoint/write",
      message: expect.stringMatching(
        /n-3\.json cannot be written: EFBIG.*What was written before is untouched; make room/,
      ),
    });
    expect(await readdir(join(folder, "cells"))).toEqual(["n-1.json", "n-2.json"]);
    expect(await limited("unlimited", figureIn(folder))).toEqual({ ran: [3] });
    expect(await readdir(folder)).toContain("results.json");
  });
}

const MODEL = `${ROOT}test/fixtures/training/llama`;

/** A training in a tmpfs that holds one checkpoint and no second; then again, with room. Its files go to the first argument. */
const IN_TMPFS = `
  mount -t tmpfs -o size=460k tmpfs "$0/disk"
  keep=$1; shift
  "$@"; echo "exit code $?"
  cp -r "$0/disk" "$keep/full"
  mount -o remount,size=20m "$0/disk"
  "$@" --resume && cp -r "$0/disk" "$keep/done"`;

const canMount = () =>
  spawnSync("unshare", ["--map-root-user", "--mount", "bash", "-c", "mount -t tmpfs tmpfs /mnt"]).status === 0;

async function trainingOnFullDisk(): Promise<void> {
  if (!canMount()) return console.warn("Nothing can be mounted here (unshare --mount): allow it to check a full disk.");
  await inTempFolder(async (folder) => {
    const disk = join(folder, "disk");
    await mkdir(disk);
    const args = [
      "train",
      MODEL,
      "--batches",
      `${MODEL}/run.safetensors`,
      "--lr",
      "3e-3",
      "--steps",
      "6",
      "--checkpoint-every",
      "1",
    ];
    const training = [process.execPath, `${ROOT}bin/superlens.js`, "--no-tune", ...args, "--out"];
    const command = ["--map-root-user", "--mount", "bash", "-c", IN_TMPFS, folder, folder, ...training, disk];
    const { stdout, stderr } = await promisify(execFile)("unshare", command, { cwd: ROOT });
    expect(stdout).toMatch(/^exit code 1\n/);
    expect(stderr).toMatch(/checkpoint\.safetensors cannot be written: ENOSPC: no space left on device.*make room/);
    expect(await readdir(join(folder, "full"))).toEqual(["checkpoint.safetensors"]);

    expect(await superlens([...args, "--out", join(folder, "whole")])).toMatchObject({ code: 0 });
    expect(await readFile(join(folder, "done/model.safetensors"))).toEqual(
      await readFile(join(folder, "whole/model.safetensors")),
    );
  });
}

/** Both write in the same way; two processes that train take eight seconds. */
const RUNS = [
  ["a figure keeps the cells that are done, says what to do, and goes on with the others", figureOnFullDisk],
  ["a training keeps its last checkpoint, and goes on from it to the same bits", trainingOnFullDisk],
] as const;

it.each(byDay(RUNS, RUNS.slice(0, 1)))("on a full disk %s", (_, run) => run());
