/** `superlens train PRESET|FILE.json` as a process: what it says and leaves, the same after a kill, and what is refused. */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, it } from "vitest";
import { inTempFolder } from "../checkpoint/support.ts";
import { byDay } from "../support/nightly.ts";
import { superlens, superlensProcess } from "./support.ts";

const TINY = {
  name: "tiny",
  families: ["countries"],
  size: { dModel: 16, dMlp: 32, layers: 1, heads: 2 },
  batch: 8,
  length: 24,
  steps: 40,
  lr: 0.01,
  warmup: 5,
};

/** By day a killed run goes on in train.test.ts. */
const ENDS = ["in one go", "and a killed run goes on to the same bits"] as const;

it.each(byDay(ENDS, ENDS.slice(0, 1)))("trains what a file describes, %s", async (end) => {
  await inTempFolder(async (folder) => {
    const file = join(folder, "tiny.json");
    await writeFile(file, JSON.stringify(TINY));
    const [whole, killed] = ["whole", "killed"].map((name) => join(folder, name)) as [string, string];
    const run = await superlens(["train", file, "--seed", "3", "--out", whole]);
    expect(run).toMatchObject({ code: 0 });
    expect(run.stdout).toMatch(
      /▕█.*\n.*loss \d\.\d{4} in step 1, \d\.\d{4} in step 40\n(?:.*\n)*countries +\d\.\d\d\n/,
    );
    const record = JSON.parse(await readFile(join(whole, "training.json"), "utf8"));
    expect(record.spec).toEqual({ ...TINY, seed: 3 });
    expect(record.losses).toHaveLength(40);
    if (end === "in one go") return;

    const again = ["train", file, "--seed", "3", "--out", killed, "--checkpoint-every", "1"];
    const kill = await superlensProcess(again, undefined, [], {
      onStart(child) {
        const look = setInterval(async () => {
          if ((await readFile(join(killed, "checkpoint.safetensors")).catch(() => "")).length > 0)
            child.kill("SIGKILL");
        }, 20);
        child.on("close", () => clearInterval(look));
      },
    });
    expect(kill.code).toBe(null);
    const resumed = await superlens([...again, "--resume", "--json"]);
    expect(resumed.code).toBe(0);
    expect(JSON.parse(resumed.stdout)).toMatchObject({ out: killed, steps: 40, accuracy: record.accuracy });
    for (const name of ["model.safetensors", "config.json", "vocab.json", "training.json", "loss.svg"])
      expect(await readFile(join(killed, name)), name).toEqual(await readFile(join(whole, name)));
  });
});

it("refuses what is no preset, and options that a preset or a file of batches says itself", async () => {
  await inTempFolder(async (folder) => {
    const file = join(folder, "tiny.json");
    await writeFile(file, JSON.stringify({ ...TINY, step: 3 }));
    const failure = async (code: number, words: string, ...args: string[]) =>
      expect(await superlens(["train", ...args])).toMatchObject({ code, stderr: expect.stringContaining(words) });
    await failure(1, 'there is no "step" in preset. The nearest is "steps"', file);
    await failure(1, "cannot be read", join(folder, "none.json"));
    await failure(2, "lc-mix10", "lcc");
    await failure(2, "--lr is for --batches", "lc", "--lr", "1");
    await failure(2, "--seed is of presets", "m", "--batches", "b", "--lr", "1", "--out", "o", "--seed", "1");
    await failure(2, "--batches needs --out", "m", "--batches", "b", "--lr", "1");
  });
});
