/** `superlens paper`: an experiment of the paper on a model, as numbers, plots and a page; and `merge`, which joins shards. */
import { readFile } from "node:fs/promises";
import { Command, InvalidArgumentError, Option } from "commander";
import { SuperlensError } from "../../errors.ts";
import { type AnyFigure, isComparison, type Summary } from "../../paper/figure.ts";
import { FIGURES } from "../../paper/figures/index.ts";
import { mergeRun, runFigure } from "../../paper/runs.ts";
import { SubjectList } from "../../paper/subjects.ts";
import { collect, examples, type GlobalOptions } from "../options.ts";
import { print, printJson, table } from "../output.ts";
import { showWork } from "../progress.ts";
import { load } from "../session.ts";
import { stop } from "../stop.ts";

interface PaperOptions extends GlobalOptions {
  /** Several for a comparison. */
  model: string | string[];
  quick?: boolean;
  text?: string;
  shard?: { index: number; count: number };
  out?: string;
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
      ),
    );
  for (const figure of FIGURES) command.addCommand(figureCommand(figure));
  const merge = new Command("merge")
    .summary("join the cells of shards")
    .description("Sums up the cells in DIR, from whichever machine, and names those that are missing.");
  return command.addCommand(
    merge
      .argument("<dir>", "the folder that shards were given as --out")
      .action(async (dir: string, _options: unknown, sub: Command) => {
        show(await mergeRun(FIGURES, dir), dir, sub.optsWithGlobals<GlobalOptions>());
      }),
  );
}

function figureCommand(figure: AnyFigure): Command {
  const compares = isComparison(figure);
  const model = new Option(
    "--model <model>",
    `folder, address or hf:owner/name; one without a tokenizer needs the vocab.json it was trained with${compares ? "; repeat it for each model" : ""}`,
  );
  const command = new Command(figure.name)
    .summary(figure.asks)
    .description(`${figure.asks}\n\nThe paper: ${figure.paper}`)
    .addOption((compares ? model.argParser(collect(String)) : model).makeOptionMandatory())
    .option("--quick", "fewer prompts and cells")
    .addOption(new Option("--shard <i/n>", "only the cells whose number is i modulo n").argParser(parseShard))
    .option("--out <dir>", "folder for the results (default: paper-FIGURE)")
    .action(async (_options: unknown, sub: Command) => run(figure, sub.optsWithGlobals<PaperOptions>()));
  if (!figure.takesText) return command;
  return command.option("--text <file>", "count n-grams in this text, not in the tasks' answers");
}

async function readText(name: string): Promise<string> {
  return readFile(name, "utf8").catch((cause: Error) => {
    throw new SuperlensError("cli/no-text", `${name} cannot be read: ${cause.message}. Give a text file.`, { cause });
  });
}

async function run(figure: AnyFigure, options: PaperOptions): Promise<void> {
  const { model, out = `paper-${figure.name}`, quick = false, shard, quiet = false } = options;
  const text = options.text === undefined ? undefined : await readText(options.text);
  using subjects = new SubjectList([model].flat(), (source) => load(source, options));
  const progress = showWork({ doing: figure.name, parts: "cells" }, quiet);
  const summary = await runFigure(figure, subjects, {
    store: out,
    quick,
    signal: stop.signal,
    ...(text !== undefined && { text }),
    ...(shard && { shard }),
    onProgress: (done, total, secondsLeft) => progress.update({ done, total, secondsLeft }),
  }).finally(progress.end);
  if (summary) show(summary, out, options);
  else if (options.json) printJson({ out, shard });
  else
    print(`Shard ${shard?.index}/${shard?.count} is in ${out}. superlens paper merge ${out} joins it with the others.`);
}

function show(summary: Summary, out: string, { json }: GlobalOptions): void {
  const { columns, rows } = summary.table;
  if (json) {
    printJson({ out, sentence: summary.sentence, verdict: summary.verdict, table: summary.table });
    return;
  }
  const shown = rows.map((row) =>
    row.map((value) => (typeof value === "number" && !Number.isInteger(value) ? value.toFixed(3) : String(value))),
  );
  print(
    ...columns.map((name, column) => `(${column + 1}) ${name}`),
    "",
    ...table([columns.map((_, column) => `(${column + 1})`), ...shown]),
    "",
  );
  print(`${summary.sentence} This ${summary.verdict} with the paper.`, `${out}/index.html has the plots.`);
}

function parseShard(text: string): { index: number; count: number } {
  const [, index, count] = /^(\d+)\/(\d+)$/.exec(text) ?? [];
  if (index === undefined || Number(index) >= Number(count))
    throw new InvalidArgumentError("It must be i/n with i from 0 to n - 1, as 0/4.");
  return { index: Number(index), count: Number(count) };
}
