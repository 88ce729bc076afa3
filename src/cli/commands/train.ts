/** `superlens train`: trains a model on given batches and saves it as a folder; or a preset (train-preset.ts). */
import { Command, InvalidArgumentError } from "commander";
import type { HookedModel } from "../../hooks/index.ts";
import { TRAINING_PRESET_NAMES } from "../../paper/index.ts";
import { saveModel, type TrainStep, train } from "../../train/index.ts";
import { type BatchFile, openBatches } from "../batches.ts";
import { examples, numberBetween, usageError, wholeNumber } from "../options.ts";
import { print, printJson } from "../output.ts";
import { showTraining } from "../progress.ts";
import { load, whileOpening } from "../session.ts";
import { stop } from "../stop.ts";
import { checkPlaces, lossLines, type TrainingOptions, writeLog } from "../training.ts";
import { isPreset, trainPresetNamed } from "./train-preset.ts";

interface TrainCommandOptions extends TrainingOptions {
  batches: string;
  lr: number;
  warmup?: number;
  decay?: number;
  betas?: [number, number];
  eps?: number;
  weightDecay?: number;
  clip?: number;
  accumulate: number;
  recompute?: boolean;
}

export function trainCommand(): Command {
  return new Command("train")
    .summary("train a preset from scratch, or a model on given batches")
    .description(
      `Trains a PRESET, a small model from scratch on tasks of the paper, or what FILE.json describes in the same way (docs/training.md). With --batches it trains every weight of MODEL with AdamW on the batches of a file, one batch a step. Either way the model goes to a folder that superlens and transformers load. The loss is the mean cross entropy of the next token. A run that was interrupted or killed goes on with --resume, to the same bits.\n\nPresets are ${TRAINING_PRESET_NAMES.join(", ")}.`,
    )
    .argument("<model>", "preset or FILE.json; with --batches folder, address or hf:owner/name")
    .option(
      "--batches <file>",
      "safetensors with `ids` [steps, batch, T + 1] and `mask` [steps, batch, T]: position t counts where it is 1; without it, all do",
    )
    .option("--lr <number>", "learning rate between warm-up and decay", numberBetween(0, Infinity, true))
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
    .option("--steps <n>", "steps (default: the preset's, or as many as there are batches)", wholeNumber(1))
    .option("--seed <n>", "of a preset's weights and batches (default: the preset's, 0)", wholeNumber(0))
    .option("--accumulate <n>", "batches that make one step", wholeNumber(1), 1)
    .option("--recompute", "compute activations twice rather than keep them: less memory, more time")
    .option(
      "--out <folder>",
      "where the model goes, and while it trains its checkpoint (needed with --batches; default of a preset: trained-PRESET)",
    )
    .option("--log <file>", "write { step, loss, gradNorm, lr } of each step that is read, as JSON")
    .option("--log-every <n>", "steps between two readings of the loss; each waits for the GPU", wholeNumber(1), 1)
    .option("--checkpoint-every <n>", "steps between two checkpoints", wholeNumber(1), 100)
    .option("--resume", "go on from the checkpoint in --out")
    .addHelpText(
      "after",
      examples(
        ["train lc --out ./lc", "a model of 107,000 parameters learns number words and countries"],
        ["train lc --out ./lc --resume", "go on after an interruption"],
        [
          "train ./model --batches batches.safetensors --lr 3e-3 --warmup 50 --decay 0.3 --clip 1 --out ./trained --log log.json",
          "warm up for 50 steps, stay, and come down over the last 30%",
        ],
      ),
    )
    .action(async (model: string, _options: unknown, command: Command) => {
      const batches = command.getOptionValue("batches") !== undefined;
      refuseIdle(command, batches);
      if (batches) return trainOn(model, command);
      if (isPreset(model)) return trainPresetNamed(model, command);
      return usageError(
        command,
        `${model} is no preset (${TRAINING_PRESET_NAMES.join(", ")}) and no .json file; to train a model, give --batches`,
      );
    });
}

/** What a preset says itself. */
const OF_BATCHES = ["lr", "warmup", "decay", "betas", "eps", "weightDecay", "clip", "accumulate", "recompute"];

function refuseIdle(command: Command, hasBatches: boolean): void {
  const given = (name: string) => command.getOptionValueSource(name) === "cli";
  const flagOf = (name: string) => command.options.find((option) => option.attributeName() === name)?.long;
  if (hasBatches) {
    if (given("seed")) usageError(command, "--seed is of presets; batches of a file are what they are");
    for (const name of ["lr", "out"]) if (!given(name)) usageError(command, `--batches needs ${flagOf(name)}`);
    return;
  }
  const idle = OF_BATCHES.find(given);
  if (idle !== undefined)
    usageError(command, `${flagOf(idle)} is for --batches; a preset says it itself, and a FILE.json can say another`);
}

function parseBetas(text: string): [number, number] {
  const values = text.split(",").map(Number);
  if (values.length === 2 && values.every((value) => value >= 0 && value < 1)) return values as [number, number];
  throw new InvalidArgumentError('It must be two numbers of at least 0 and below 1: "0.9,0.98".');
}

async function trainOn(source: string, command: Command): Promise<void> {
  const options = command.optsWithGlobals<TrainCommandOptions>();
  await checkPlaces(options);
  const batches = await openBatches(options.batches);
  try {
    const steps = stepsOf(command, batches, options);
    using model = await load(source, { ...options, dtype: "float32" });
    report(await trainModel(model, source, batches, steps, options), options);
  } finally {
    await batches.close();
  }
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
    await saveModel(model, out, {
      tokenizerFrom: source,
      onNotice: whileOpening(options.quiet).onNotice ?? (() => {}),
    });
    await writeLog(options.log, log);
    return log;
  } finally {
    progress.end();
  }
}

function report(log: readonly TrainStep[], { out, json, log: file }: TrainCommandOptions): void {
  if (json) printJson({ out, steps: log.at(-1)?.step, first: log[0], last: log.at(-1) });
  else
    print(
      ...lossLines(log),
      `${out}: config.json, model.safetensors, and checkpoint.safetensors to go on from`,
      ...(file === undefined ? [] : [`${file}: the loss of each step`]),
    );
}
