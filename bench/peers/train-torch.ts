/** The same training in PyTorch: a process of `train.py` a run, which trains whenever it reads a line. */
import { execFileSync, spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { firstBatches, learningRate, MODEL, OPTIMIZER, type Plan, startWeights, type Trainer } from "./training.ts";

const PROGRAM = fileURLToPath(new URL("train.py", import.meta.url));

/** @param python an interpreter that has the packages of `requirements.txt` */
export async function torchTrainer(python: string): Promise<Trainer> {
  const folder = await mkdtemp(join(tmpdir(), "superlens-peers-"));
  await writeFile(join(folder, "model.safetensors"), (await startWeights()).file);
  return {
    name: "PyTorch",
    note: about(python),
    async begin(plan) {
      await writeFile(join(folder, "run.json"), JSON.stringify(runFile(plan)));
      const child = spawn(python, [PROGRAM, folder], { stdio: ["pipe", "pipe", "inherit"] });
      const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
      const next = async () => {
        const { value, done } = await lines.next();
        if (done) throw new Error(`${PROGRAM} ended before its run did.`);
        return value as string;
      };
      await next(); // it has loaded the run
      return {
        async advance() {
          child.stdin.write("\n");
          return Number(await next());
        },
        end: () => void child.stdin.end(),
      };
    },
    destroy: () => rm(folder, { recursive: true }),
  };
}

/** @throws where the interpreter or PyTorch is missing */
function about(python: string): string {
  try {
    return execFileSync(python, [PROGRAM, "--about"], { encoding: "utf8" }).trim();
  } catch (cause) {
    const remedy = "Install requirements.txt, and name the interpreter that has it by --python.";
    throw new Error(`${python} does not run train.py. ${remedy}`, { cause });
  }
}

function runFile({ steps, every }: Plan): object {
  return {
    config: MODEL,
    optimizer: OPTIMIZER,
    every,
    rates: Array.from({ length: steps }, (_, index) => learningRate(index + 1)),
    batches: firstBatches(steps),
  };
}
