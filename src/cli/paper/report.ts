/** `superlens paper all`: every figure on every model, and one page of all. */
import { Command } from "commander";
import { FIGURES } from "../../paper/figures/index.ts";
import type { Report } from "../../paper/report-page.ts";
import { runReport } from "../../paper/run-all.ts";
import type { Shard } from "../../paper/runs.ts";
import { SubjectList } from "../../paper/subjects.ts";
import { collect, examples, type GlobalOptions, usageError } from "../options.ts";
import { print, printJson, table } from "../output.ts";
import { showWork } from "../progress.ts";
import { load } from "../session.ts";
import { stop } from "../stop.ts";
import { checkFolder } from "../write-file.ts";
import { nameOf, ownModels, reportedModels } from "./models.ts";
import { shardOption } from "./shard.ts";

interface ReportOptions extends GlobalOptions {
  model: string[];
  quick?: boolean;
  shard?: Shard;
  out: string;
}

export function allCommand(): Command {
  return new Command("all")
    .summary("every figure, as one report")
    .description(
      "Makes every figure for every model, and a page of all: what the paper found, what came out, and whether they agree. A report that was interrupted goes on where it was. Figures that a model cannot be asked are left out, with the reason.",
    )
    .option(
      "--model <model>",
      "folder, address or hf:owner/name; repeat it for each model (default: those in this package)",
      collect(String),
      [],
    )
    .option("--quick", "fewer prompts and cells")
    .addOption(shardOption())
    .option("--out <dir>", "folder for the report", "paper-report")
    .addHelpText(
      "after",
      examples(
        ["paper all --quick --out report", "the models in this package; then open report/index.html"],
        ["paper all --model hf:openai-community/gpt2 --shard 0/4", "a part of it; without --shard, it is put together"],
      ),
    )
    .action(async (_options: unknown, command: Command) => report(command));
}

async function report(command: Command): Promise<void> {
  const options = command.optsWithGlobals<ReportOptions>();
  const { out, quick = false, shard, quiet = false } = options;
  const isOurs = options.model.length === 0;
  const sources = isOurs ? reportedModels() : options.model;
  const names = sources.map(nameOf);
  const twice = names.find((name, index) => names.indexOf(name) < index);
  if (twice) usageError(command, `two models are called ${twice}: rename a folder`);
  await checkFolder(out);
  const open = (models: readonly string[]) => new SubjectList(models, (source) => load(source as string, options));
  using subjects = open(sources);
  const own: SubjectList[] = [];
  const progress = showWork({ doing: "paper", parts: "cells" }, quiet);
  const made = await runReport(FIGURES, subjects, {
    store: out,
    names,
    ...(isOurs && {
      modelsOf: (figure) => {
        const models = ownModels(figure, quick);
        if (models === undefined) return undefined;
        const list = open(models);
        own.push(list);
        return { names: models.map(nameOf), subjects: list };
      },
    }),
    quick,
    signal: stop.signal,
    ...(shard && { shard }),
    onProgress: ({ run, ...now }) => progress.update({ ...now, text: `of ${run}` }),
  }).finally(() => {
    progress.end();
    for (const list of own) list.destroy();
  });
  if (made) show(made, out, options);
  else if (options.json) printJson({ out, shard });
  else print(`Shard ${shard?.index}/${shard?.count} is in ${out}. The same command without --shard puts all together.`);
}

function show({ runs }: Report, out: string, { json }: GlobalOptions): void {
  if (json) {
    const found = runs.map(({ figure, model, folder, summary, reason }) => ({
      ...{ figure, model, folder },
      ...(summary ? { sentence: summary.sentence, verdict: summary.verdict } : { reason }),
    }));
    printJson({ out, runs: found });
    return;
  }
  const rows = runs.map(({ figure, model, summary, reason }) => [
    figure,
    model,
    summary ? summary.verdict : `left out: ${reason}`,
  ]);
  print(...table([["figure", "model", "with the paper"], ...rows]), "", `${out}/index.html has everything.`);
}
