/** What training a model and training a preset share: where the result may go, the log, and what is said of it. */
import { openStore } from "../checkpoint/index.ts";
import { SuperlensError } from "../errors.ts";
import { hasCheckpoint } from "../train/checkpoint.ts";
import type { TrainStep } from "../train/index.ts";
import type { GlobalOptions } from "./options.ts";
import { chart } from "./output.ts";
import { checkFolder, checkWritable, writeFileWhole } from "./write-file.ts";

/** Options of either. */
export interface TrainingOptions extends GlobalOptions {
  steps?: number;
  out: string;
  log?: string;
  logEvery: number;
  checkpointEvery: number;
  resume?: boolean;
}

/**
 * Checks that results can be written, before the work. A model that is there would be overwritten, and it may be the one to train.
 * @throws SuperlensError `cli/not-writable`, `cli/exists`
 */
export async function checkPlaces({
  out,
  log,
  resume,
}: Pick<TrainingOptions, "out" | "log" | "resume">): Promise<void> {
  await checkFolder(out);
  if (log !== undefined) await checkWritable(log);
  const store = openStore(out);
  const folder = store.source();
  const holdsModel = await folder.exists("model.safetensors").finally(() => folder.close?.());
  if (!holdsModel || (resume && (await hasCheckpoint(store)))) return;
  throw new SuperlensError(
    "cli/exists",
    `${out} holds a model already, which training would overwrite. Name another folder${resume ? "" : ", or give --resume if a run wrote it"}.`,
  );
}

/** Writes what was read of each step: a list of JSON objects, one a line. */
export async function writeLog(file: string | undefined, steps: readonly TrainStep[]): Promise<void> {
  if (file === undefined) return;
  const text = `[\n${steps.map((step) => `  ${JSON.stringify(step)}`).join(",\n")}\n]\n`;
  await writeFileWhole(file, [new TextEncoder().encode(text)]);
}

/** The first loss, the last, and how it went between them. */
export function lossLines(steps: readonly TrainStep[]): string[] {
  const [first, last] = [steps[0], steps.at(-1)] as [TrainStep, TrainStep];
  const line = `loss ${first.loss.toFixed(4)} in step ${first.step}, ${last.loss.toFixed(4)} in step ${last.step}`;
  return [...chart(steps.map(({ loss }) => loss)), line];
}
