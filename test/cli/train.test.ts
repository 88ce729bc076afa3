/** `superlens train` as a process: the recorded run, the same after a kill, and what is refused. */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, it } from "vitest";
import { type TensorEntry, writeSafetensors } from "../../src/checkpoint/index.ts";
import { inTempFolder } from "../checkpoint/support.ts";
import { recorded } from "../train/support.ts";
import { ROOT, superlens, superlensProcess } from "./support.ts";

const MODEL = `${ROOT}test/fixtures/training/llama`;
const BATCHES = `${MODEL}/run.safetensors`;
const RECIPE = "--lr 3e-3 --warmup 5 --decay 0.3 --betas 0.9,0.98 --eps 1e-8 --weight-decay 0.01 --clip 1".split(" ");
const train = (...args: string[]) => ["train", MODEL, ...RECIPE, ...args];

it("trains on the batches of a file, and a killed run goes on to the same bits", async () => {
  const { losses } = await recorded("llama");
  await inTempFolder(async (folder) => {
    const [whole, killed, log] = ["whole", "killed", "log.json"].map((name) => join(folder, name)) as [
      string,
      string,
      string,
    ];
    const batches = ["--batches", BATCHES];
    const run = await superlens(train(...batches, "--out", whole, "--log", log, "--json"));
    expect(run.code).toBe(0);
    const steps = JSON.parse(await readFile(log, "utf8")) as { loss: number }[];
    expect(JSON.parse(run.stdout)).toEqual({ out: whole, steps: 30, first: steps[0], last: steps[29] });
    steps.forEach(({ loss }, index) => {
      expect(Math.abs(loss / (losses[index] as number) - 1)).toBeLessThan(1e-5);
    });

    const again = ["--out", killed, "--checkpoint-every", "1"];
    const kill = await superlensProcess(train(...batches, ...again), undefined, [], {
      onStart(child) {
        const look = setInterval(async () => {
          if ((await readFile(join(killed, "checkpoint.safetensors")).catch(() => "")).length > 0)
            child.kill("SIGKILL");
        }, 20);
        child.on("close", () => clearInterval(look));
      },
    });
    expect(kill.code).toBe(null);
    const refused = await superlens(train(...batches, ...again));
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining("resume") });
    expect(await superlens(train(...batches, ...again, "--resume"))).toMatchObject({ code: 0 });
    for (const file of ["model.safetensors", "config.json"])
      expect(await readFile(join(killed, file)), file).toEqual(await readFile(join(whole, file)));
  });
});

it("refuses batches that are none, and folders that hold a model", async () => {
  await inTempFolder(async (folder) => {
    const out = ["--out", join(folder, "out")];
    const file = join(folder, "batches.safetensors");
    const given = async (tensors: TensorEntry[], ...args: string[]) => {
      await writeFile(file, writeSafetensors(tensors));
      return superlens(train("--batches", file, ...out, ...args));
    };
    const tensor = (name: string, shape: number[], value = 1): TensorEntry => ({
      name,
      dtype: "F32",
      shape,
      data: new Float32Array(shape.reduce((product, size) => product * size, 1)).fill(value),
    });
    const failure = (code: number, ...words: string[]) => ({ code, stderr: expect.stringMatching(words.join(".*")) });
    expect(await given([tensor("tokens", [1, 2, 3])])).toMatchObject(failure(1, 'no tensor "ids"', "tokens"));
    expect(await given([tensor("ids", [2, 3])])).toMatchObject(failure(1, "shape .2, 3."));
    expect(await given([tensor("ids", [1, 2, 3]), tensor("mask", [1, 2, 3])])).toMatchObject(failure(1, "mask"));
    expect(await given([tensor("ids", [1, 2, 3])], "--steps", "2")).toMatchObject(failure(2, "the file has 1"));
    expect(await given([tensor("ids", [1, 2, 3]), tensor("mask", [1, 2, 2], 0.5)])).toMatchObject(
      failure(1, "holds 0.5"),
    );
    expect(await superlens([...train("--batches", BATCHES), "--out", MODEL])).toMatchObject(
      failure(1, "holds a model"),
    );
  });
});
