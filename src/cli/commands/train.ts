/** `superlens train`: trains a model on given batches, and saves it as a folder. */
import { Command, InvalidArgumentError } from "commander";
import { openStore } from "../../checkpoint/index.ts";
import { SuperlensError } from "../../errors.ts";
import type { HookedModel } from "../../hooks/index.ts";
import { hasCheckpoint } from "../../train/checkpoint.ts";
import { saveModel, type TrainStep, train } from "../../train/index.ts";
import { type BatchFile, openBatches } from "../batches.ts";
import { examples, type GlobalOptions, numberBetween, usageError, wholeNumber } from "../options.ts";
import { print, printJson } from "../output.ts";
import { showTraining } from "../progress.ts";
import { withModel } from "../session.ts";
import { stop } from "../stop.ts";
import { checkFolder, checkWritable, writeFileWhole } from "../write-file.ts";

interface TrainCommandOptions extends GlobalOptions {
  batches: string;
  lr: number;
  warmup?: number;
  decay?: number;
  betas?: [number, number];
  eps?: number;
  weightDecay?: number;
  clip?: number;
  steps?: number;
  accumulate: number;
  recompute?: boolean;
  out: string;
  log?: string;
  logEvery: number;
  checkpointEvery: number;
  resume?: boolean;
}

export function trainCommand(): Command {
  return new Command("train")
    .summary("train a model on given batches, and save it as a folder")
    .description(
      "Trains every weight of MODEL with AdamW on the batches of a file, one batch a step, and saves the model to a folder that superlens and transformers load. The loss is the mean cross entropy of the next token. A run that was interrupted or killed goes on with --resume, to the same bits.",
    )
    .argument("<model>", "folder, address or hf:owner/name")
    .requiredOption(
      "--batches <file>",
      "safetensors with `ids` [steps, batch, T + 1] and `mask` [steps, batch, T]: position t counts where it is 1; without it, all do",
    )
    .requiredOption("--lr <number>", "learning rate between warm-up and decay", numberBetween(0, Infinity, true))
    .option("--warmup <steps>", "steps over which the rate rises linearly (default: 0)", wholeNumber(0))
    .option(
      "--decay <part>",
      "last part of the steps, over which the rate falls linearly (default: 0)",
      numberBetween(0, 1),
    )
    .option("--betas <a,b>", "decay rates of AdamW's moments (default: 0.9,0.999)", parseBetas)
    .option("--eps <number>", "of AdamW (default: 1e-8)", numberBetween(0, Infinity, true))
    .option("--weight-decay <number>", "of matrices; biases and norms have none (default: 0.01)", numberBetween(0))
    .option("--clip <norm>", "cut all gradients together to this norm (default: not)", numberBetween(0, Infinity, true))
    .option("--steps <n>", "steps (default: as many as there are batches)", wholeNumber(1))
    .option("--accumulate <n>", "batches that make one step", wholeNumber(1), 1)
    .option("--recompute", "compute activations twice rather than keep them: less memory, more time")
    .requiredOption("--out <folder>", "where the model goes, and while it trains its checkpoint")
    .option("--log <file>", "write { step, loss, gradNorm, lr } of each step that is read, as JSON")
    .option("--log-every <n>", "steps between two readings of the loss; each waits for the GPU", wholeNumber(1), 1)
    .option("--checkpoint-every <n>", "steps between two checkpoints", wholeNumber(1), 100)
    .option("--resume", "go on from the checkpoint in --out")
    .addHelpText(
      "after",
      examples(
        [
          "train ./model --batches batches.safetensors --lr 3e-3 --warmup 50 --decay 0.3 --clip 1 --out ./trained --log log.json",
          "warm up for 50 steps, stay, and come down over the last 30%",
        ],
        [
          "train ./model --batches batches.safetensors --lr 3e-3 --warmup 50 --decay 0.3 --clip 1 --out ./trained --resume",
          "go on after an interruption",
        ],
      ),
    )
    .action(async (model: string, _options: unknown, command: Command) => trainOn(model, command));
}

function parseBetas(text: string): [number, number] {
  const values = text.split(",").map(Number);
  if (values.length === 2 && values.every((value) => value >= 0 && value < 1)) return values as [number, number];
  throw new InvalidArgumentError('It must be two numbers of at least 0 and below 1: "0.9,0.98".');
}

async function trainOn(source: string, command: Command): Promise<void> {
  const options = command.optsWithGlobals<TrainCommandOptions>();
  await checkFolder(options.out);
  if (options.log !== undefined) await checkWritable(options.log);
  await refuseModelIn(options);
  const batches = await openBatches(options.batches);
  try {
    const steps = stepsOf(command, batches, options);
    const log = await withModel(
      source,
      { ...options, dtype: "float32" },
      {
        prepare: () => undefined,
        run: (model) => trainModel(model, source, batches, steps, options),
      },
    );
    report(log, options);
  } finally {
    await batches.close();
  }
}

/** A model that is there would be overwritten, and it may be the one to train. @throws SuperlensError `cli/exists` */
async function refuseModelIn({ out, resume }: TrainCommandOptions): Promise<void> {
  const store = openStore(out);
  const folder = store.source();
  const holdsModel = await folder.exists("model.safetensors").finally(() => folder.close?.());
  if (!holdsModel || (resume && (await hasCheckpoint(store)))) return;
  throw new SuperlensError(
    "cli/exists",
    `${out} holds a model already, which training would overwrite. Name another folder${resume ? "" : ", or give --resume if a run wrote it"}.`,
  );
}

function stepsOf(command: Command, { count }: BatchFile, { steps, accumulate }: TrainCommandOptions): number {
  const most = Math.floor(count / accumulate);
  if (most === 0) usageError(command, `--accumulate ${accumulate} takes more batches than the file has: ${count}`);
  if (steps !== undefined && steps > most)
    usageError(command, `--steps ${steps} takes ${steps * accumulate} batches, and the file has ${count}`);
  return steps ?? most;
}

async function trainModel(
  model: HookedModel,
  source: string,
  batches: BatchFile,
  steps: number,
  options: TrainCommandOptions,
): Promise<TrainStep[]> {
  const { lr, warmup, decay, betas, eps, weightDecay, clip, accumulate, recompute, out, resume } = options;
  const progress = showTraining(steps, options.quiet ?? false);
  try {
    const log = await train({
      model,
      data: (first) => batches.from(first),
      steps,
      schedule: { lr, warmup, decay },
      optimizer: { betas, eps, weightDecay, clip },
      accumulate,
      recompute,
      logEvery: options.logEvery,
      onStep: progress.update,
      checkpoint: { in: out, every: options.checkpointEvery, resume },
      signal: stop.signal,
    });
    await saveModel(model, out, { tokenizerFrom: source });
    if (options.log !== undefined) await writeFileWhole(options.log, [new TextEncoder().encode(jsonLines(log))]);
    return log;
  } finally {
    progress.end();
  }
}

/** A list of JSON objects, one a line. */
const jsonLines = (log: readonly TrainStep[]) =>
  `[\n${log.map((step) => `  ${JSON.stringify(step)}`).join(",\n")}\n]\n`;

function report(log: readonly TrainStep[], { out, json, log: file }: TrainCommandOptions): void {
  const [first, last] = [log[0], log.at(-1)] as [TrainStep, TrainStep];
  if (json) printJson({ out, steps: last.step, first, last });
  else
    print(
      `loss ${first.loss.toFixed(4)} in step ${first.step}, ${last.loss.toFixed(4)} in step ${last.step}`,
      `${out}: config.json, model.safetensors, and checkpoint.safetensors to go on from`,
      ...(file === undefined ? [] : [`${file}: the loss of each step`]),
    );
}
