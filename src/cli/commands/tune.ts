/**
 * `superlens tune`: times the matmul and attention kernels on this adapter and keeps the fastest, for every
 * later run. Other commands do the same for shapes that were not timed yet. This one can take longer, and shows its timings.
 */
import { Command, Option } from "commander";
import { SuperlensError } from "../../errors.ts";
import { Gpu } from "../../gpu/gpu.ts";
import { requestGpu } from "../../hosts/request.ts";
import type { KernelClass } from "../../kernels/tuning/classes.ts";
import { tuneAndKeep } from "../../kernels/tuning/keep.ts";
import type { ClassTimings, TuneReport } from "../../kernels/tuning/tuner.ts";
import { classesOf } from "../../model/tuning.ts";
import { examples, type GlobalOptions, numberBetween } from "../options.ts";
import { note, print, printJson, table } from "../output.ts";
import { showTuning } from "../progress.ts";
import { withModel } from "../session.ts";
import { stop } from "../stop.ts";

interface TuneCommandOptions extends GlobalOptions {
  budget: number;
}

export function tuneCommand(): Command {
  return new Command("tune")
    .summary("time the kernels on this adapter and keep the fastest")
    .description(
      "Times the matmul and attention kernels on this adapter for the shapes of MODEL (without one: F32 weights in both layouts, heads of 64). It checks the fastest kernel against the reference and keeps it for later runs, in place of what was kept before. `generate`, `probs` and `forward` do the same the first time, for 3 seconds at most.",
    )
    .argument("[model]", "folder, address or hf:owner/name")
    .addOption(
      new Option("--budget <seconds>", "time for all shapes together; shapes that are not reached keep what they had")
        .argParser(numberBetween(0))
        .default(30),
    )
    .addHelpText(
      "after",
      examples(
        ["tune --budget 120", "F32 weights and heads of 64, with time for every kernel"],
        ["tune hf:openai-community/gpt2", "the shapes of one model"],
        ["tune --json", "every timing, for a program"],
      ),
    )
    .action(async (model: string | undefined, _options: unknown, command: Command) =>
      tuneFrom(model, command.optsWithGlobals()),
    );
}

async function tuneFrom(source: string | undefined, options: TuneCommandOptions): Promise<void> {
  const report = source === undefined ? await tuneAdapter(options) : await tuneFor(source, options);
  if (options.json) return printJson(report);
  print(...table(rowsOf(report), ["left", "left", "right", "right", "right"]));
  if (options.quiet) return;
  for (const { class: shapes, kernel, reason } of report.rejected)
    note(`superlens: ${shapes}: ${kernel} rejected: ${reason}`);
  if (report.skipped.length > 0)
    note(`superlens: not reached within ${options.budget} s: ${report.skipped.join("; ")}`);
}

async function tuneAdapter(options: TuneCommandOptions): Promise<TuneReport> {
  const { adapter, quiet } = options;
  const gpu = new Gpu(await requestGpu({ adapter, quiet, signal: stop.signal }));
  try {
    return await tuneOn(gpu, options);
  } finally {
    gpu.destroy();
  }
}

function tuneFor(source: string, options: TuneCommandOptions): Promise<TuneReport> {
  return withModel(
    source,
    { ...options, tune: false },
    {
      prepare: () => undefined,
      run: ({ gpu, engine, spec }) => tuneOn(gpu, options, classesOf(engine.weights, spec)),
    },
  );
}

async function tuneOn(
  gpu: Gpu,
  { budget, quiet = false }: TuneCommandOptions,
  classes?: KernelClass[],
): Promise<TuneReport> {
  const progress = showTuning(quiet);
  try {
    const settings = {
      ...(classes && { classes }),
      budgetMs: 1000 * budget,
      onProgress: progress.update,
      signal: stop.signal,
    };
    return await tuneAndKeep(gpu, settings, (cause) => {
      const remedy = "Free some space, or set SUPERLENS_CACHE to a folder that can be written.";
      throw new SuperlensError("cli/not-writable", `The choices could not be kept: ${cause.message}. ${remedy}`, {
        cause,
      });
    });
  } finally {
    progress.end();
  }
}

function rowsOf({ timings }: TuneReport): string[][] {
  const head = ["class", "kernel", "ms", "GFLOP/s", "GB/s", ""];
  return [head, ...timings.flatMap(classRows)];
}

function classRows({ class: shapes, default: usual, choice, kernels }: ClassTimings): string[][] {
  const fastestFirst = [...kernels].sort((a, b) => a.ms - b.ms);
  return fastestFirst.map(({ kernel, ms, gflops, gigabytesPerSecond }, index) => {
    const marks = [kernel === choice && "chosen", kernel === usual && "default"].filter(Boolean).join(", ");
    const numbers = [ms.toFixed(3), gflops.toFixed(1), gigabytesPerSecond.toFixed(1)];
    return [index === 0 ? shapes : "", kernel, ...numbers, marks];
  });
}
