/** `superlens paper`: an experiment of the paper on a model, as numbers, plots and a page; and `merge`, which joins shards. */
import { readFile } from "node:fs/promises";
import { Command, Option } from "commander";
import { openStore } from "../../checkpoint/index.ts";
import { SuperlensError } from "../../errors.ts";
import { defaultModels } from "../../paper/embedded.ts";
import { PaperError } from "../../paper/errors.ts";
import { type AnyFigure, isComparison, type Summary } from "../../paper/figure.ts";
import { FIGURES } from "../../paper/figures/index.ts";
import { mergeRun, runFigure, type Shard, unfinishedShards } from "../../paper/runs.ts";
import { SubjectList } from "../../paper/subjects.ts";
import { collect, examples, type GlobalOptions, usageError } from "../options.ts";
import { print, printJson } from "../output.ts";
import { embeddedFolder } from "../package.ts";
import { allCommand } from "../paper/report.ts";
import { shardOption } from "../paper/shard.ts";
import { show } from "../paper/show.ts";
import { DEFAULT_TASKS, resubmission, slurmOptions, splitArguments, submitArray, tasksOf } from "../paper/slurm.ts";
import { showWork } from "../progress.ts";
import { load } from "../session.ts";
import { stop } from "../stop.ts";
import { checkFolder } from "../write-file.ts";

interface PaperOptions extends GlobalOptions {
  /** Several for a comparison. */
  model?: string | string[];
  quick?: boolean;
  text?: string;
  shard?: Shard;
  out?: string;
  slurm?: boolean;
  tasks?: number;
}

export function paperCommand(): Command {
  const command = new Command("paper")
    .summary("repeat an experiment of the paper on a model")
    .description(
      "Repeats an experiment of the paper on a model. A run that was interrupted goes on where it was, if it is started again.",
    )
    .addHelpText(
      "after",
      examples(
        ["paper lambda --model ./mini --quick --out lambda", "numbers, plots and a page in the folder lambda"],
        [
          "paper lambda --model ./mini --shard 0/2 --out lambda",
          "every second cell, the others on another machine with --shard 1/2",
        ],
        ["paper merge lambda", "joins what shards left in a folder"],
        ["paper all --quick", "every figure, on the models in this package, as one page"],
        [
          "paper lambda --model ./mini --out lambda --slurm --tasks 8 -- --partition=gpu",
          "eight shards as a Slurm job array, and a job that merges them; what follows -- is for sbatch",
        ],
      ),
    );
  command.addCommand(allCommand());
  for (const figure of FIGURES) command.addCommand(figureCommand(figure));
  const merge = new Command("merge")
    .summary("join the cells of shards")
    .description("Sums up the cells in DIR, from whichever machine, and names those that are missing.");
  return command.addCommand(
    merge
      .argument("<dir>", "the folder that shards were given as --out")
      .action(async (dir: string, _options: unknown, sub: Command) => {
        show(await merged(dir), dir, sub.optsWithGlobals<GlobalOptions>());
      }),
  );
}

function figureCommand(figure: AnyFigure): Command {
  const compares = isComparison(figure);
  const model = new Option(
    "--model <model>",
    `folder, address or hf:owner/name; one without a tokenizer needs the vocab.json it was trained with${compares ? "; repeat it for each model" : ""} (default: from this package)`,
  );
  const command = new Command(figure.name)
    .summary(figure.asks)
    .description(`${figure.asks}\n\nThe paper: ${figure.paper}`)
    .usage("[options] [-- sbatch options]")
    .argument("[sbatch...]", "after -- and beside --slurm: options of sbatch, such as --partition=gpu")
    .addOption(compares ? model.argParser(collect(String)) : model)
    .option("--quick", "fewer prompts and cells")
    .addOption(shardOption())
    .option("--out <dir>", "folder for the results (default: paper-FIGURE)")
    .action(async (sbatch: string[], _options: unknown, sub: Command) => run(figure, sbatch, sub));
  for (const option of slurmOptions()) command.addOption(option);
  if (!figure.takesText) return command;
  return command.option("--text <file>", "count n-grams in this text, not in the tasks' answers");
}

async function readText(name: string): Promise<string> {
  return readFile(name, "utf8").catch((cause: Error) => {
    throw new SuperlensError("cli/no-text", `${name} cannot be read: ${cause.message}. Give a text file.`, { cause });
  });
}

/** @param words operands: none but those after `--` */
async function run(figure: AnyFigure, words: readonly string[], command: Command): Promise<void> {
  const options = command.optsWithGlobals<PaperOptions>();
  const { model, out = `paper-${figure.name}`, quick = false, shard, quiet = false, slurm, tasks } = options;
  const { sbatch } = splitArguments();
  if (words.length > sbatch.length)
    usageError(command, `${words[0]} belongs to no option; options of sbatch follow --, beside --slurm`);
  if (!slurm && sbatch.length > 0) usageError(command, `${sbatch.join(" ")} is for sbatch: give --slurm, too`);
  if (!slurm && tasks !== undefined) usageError(command, "--tasks is for --slurm");
  const text = options.text === undefined ? undefined : await readText(options.text);
  await checkFolder(out);
  if (slurm) return submit(figure, out, tasks ?? DEFAULT_TASKS, sbatch, options);
  const sources = model === undefined ? defaultModels(figure, embeddedFolder(), { quick }) : [model].flat();
  using subjects = new SubjectList(sources, (source) => load(source, options));
  const progress = showWork({ doing: figure.name, parts: "cells" }, quiet);
  const summary = await runFigure(figure, subjects, {
    store: out,
    quick,
    signal: stop.signal,
    ...(text !== undefined && { text }),
    ...(shard && { shard }),
    onProgress: (now) => progress.update(now),
  }).finally(progress.end);
  if (summary) show(summary, out, options);
  else if (options.json) printJson({ out, shard });
  else
    print(`Shard ${shard?.index}/${shard?.count} is in ${out}. superlens paper merge ${out} joins it with the others.`);
}

async function submit(
  { name }: AnyFigure,
  out: string,
  tasks: number,
  sbatch: readonly string[],
  { json }: GlobalOptions,
): Promise<void> {
  const submitted = await submitArray({ figure: name, out, tasks, sbatch });
  if (json) return printJson({ out, tasks, ...submitted });
  print(
    `Job ${submitted.job} computes ${tasks} shards, and job ${submitted.merge} merges them when all have ended: ${out}/slurm-merge.log.`,
    `If shard I fails: ${resubmission(out, "I")}; then superlens paper merge ${out}.`,
  );
}

/** Merges a run; what an array has not finished is named as tasks to submit again. */
async function merged(dir: string): Promise<Summary> {
  try {
    return await mergeRun(FIGURES, dir);
  } catch (cause) {
    const tasks = await tasksOf(dir);
    if (!(cause instanceof PaperError && cause.code === "paper/missing-cells") || tasks === undefined) throw cause;
    const shards = await unfinishedShards(FIGURES, openStore(dir), tasks);
    throw new PaperError(
      cause.code,
      `${cause.message} For the shards of the job array that are not finished: ${resubmission(dir, shards)}.`,
      { cause },
    );
  }
}
