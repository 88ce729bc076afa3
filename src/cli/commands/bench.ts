/**
 * `superlens bench`: how fast a model runs here, and on the other hosts of this computer. Rows are llama-bench's: `pp128` is
 * a prompt of 128 tokens, `tg32` are 32 tokens one by one. The exit code is 1 if a run's output is not the reference's.
 */
import { Command, InvalidArgumentError, Option } from "commander";
import {
  type BenchOptions,
  type BenchProgress,
  DEFAULT_OPTIONS,
  markdown,
  notesOf,
  type Report,
  SHAPE_NAMES,
  type ShapeName,
  tablesOf,
} from "../../bench/index.ts";
import { FLOAT_STORAGES, type FloatStorage } from "../../kernels/storage.ts";
import { benchOn, type HostRun, type Target, withShapeFolder } from "../bench-hosts.ts";
import { commitName } from "../commit.ts";
import { checkAdapter, HOSTS, type Host } from "../elsewhere.ts";
import { examples, type GlobalOptions, usageError, wholeNumber } from "../options.ts";
import { note, print, printJson, table } from "../output.ts";
import { untilInterrupted } from "../served-page.ts";
import { serveSite } from "../site.ts";

interface BenchCommandOptions extends GlobalOptions {
  shape?: ShapeName;
  dtype?: FloatStorage;
  prompt: number[];
  generate: number[];
  batch: number[];
  runs: number;
  depth: number;
  host: Host[];
  ceilings?: boolean;
  profile?: boolean;
  cold?: boolean;
  tune: boolean;
  md?: boolean;
  serve?: boolean;
  port: number;
}

const DEFAULT_SHAPE: ShapeName = "mini";
const DEFAULT_PORT = 8080;

export function benchCommand(): Command {
  const { prompts, generate, batches, runs, depth } = DEFAULT_OPTIONS;
  const numbers = (flags: string, meaning: string, least: number, preset: readonly number[]) =>
    new Option(flags, meaning).argParser(listOf(wholeNumber(least))).default([...preset], preset.join(","));
  return new Command("bench")
    .summary("measure speed, and what the adapter allows")
    .description(
      "Times prompts (pp128: a prompt of 128 tokens) and decoding (tg32: 32 tokens, one by one) of MODEL, or of a shape with random weights, which needs no download. Each test runs once as a warm-up and then several times; the table shows the median and the spread. Every run's output is compared with that of slow reference kernels. The exit code is 1 if it differs.",
    )
    .argument("[model]", "folder, address or hf:owner/name (default: a shape)")
    .addOption(
      new Option("--shape <name>", `a shape with random weights (default: ${DEFAULT_SHAPE})`).choices(SHAPE_NAMES),
    )
    .addOption(new Option("--dtype <type>", "type of a shape's weights (default: f32)").choices(FLOAT_STORAGES))
    .addOption(numbers("-p, --prompt <lengths>", "prompt lengths, with commas between them; 0 for none", 0, prompts))
    .addOption(numbers("-n, --generate <counts>", "tokens to decode; 0 for none", 0, generate))
    .addOption(
      numbers("-b, --batch <sizes>", "sequences at once: as many prompts, or rows decoded together", 1, batches),
    )
    .addOption(new Option("-r, --runs <n>", "timed runs of each test").argParser(wholeNumber(1)).default(runs))
    .addOption(
      new Option("-d, --depth <n>", "positions in the key-value cache before decoding")
        .argParser(wholeNumber(0))
        .default(depth),
    )
    .addOption(
      new Option(
        "--host <list>",
        "where to run: node, deno, chrome; the last two need a clone with its development dependencies",
      )
        .argParser(listOf(parseHost))
        .default(["node"] satisfies Host[], "node"),
    )
    .option("--ceilings", "also measure the adapter's fastest matmul, reading of weights and dispatch")
    .option("--profile", "also time each kernel, by timestamp queries, in a run of its own")
    .option("--cold", "load a shape from a folder on disk, so that its cold times are those of a model")
    .option("--md", "print Markdown")
    .option("--serve", "serve a page that runs the benchmark in your browser")
    .addOption(
      new Option("--port <n>", "port of the page; 0 for a free one")
        .argParser(wholeNumber(0, 65_535))
        .default(DEFAULT_PORT),
    )
    .addHelpText(
      "after",
      examples(
        ["bench", `the shape ${DEFAULT_SHAPE}, a prompt of 128 and 32 tokens`],
        ["bench ./TinyStories-656K -p 128,512 -n 32 -b 1,8 -r 5", "a model: two prompts, one and eight sequences"],
        ["bench --shape gpt2 --ceilings", "GPT-2's shape, each result as a share of what the adapter can do"],
        ["bench --shape gpt2 --host node,deno,chrome --md", "three hosts in one Markdown table"],
        ["bench --shape gpt2 --dtype bf16", "the same in half the memory"],
        ["bench --shape gpt2 --profile -n 0", "where the time of a prompt goes, kernel by kernel"],
        ["bench --serve", "measures the browser that opens the printed address"],
      ),
    )
    .action(async (model: string | undefined, _options: unknown, command: Command) => bench(model, command));
}

async function bench(model: string | undefined, command: Command): Promise<void> {
  const options = command.optsWithGlobals<BenchCommandOptions>();
  checkUsage(model, options, command);
  if (options.serve) return untilInterrupted(await serveSite(options.port), "#view=bench", options.quiet);
  if (model !== undefined) return runAll({ model, label: model, isRandom: false }, options);
  const target = { shape: options.shape ?? DEFAULT_SHAPE, dtype: options.dtype ?? "f32" };
  if (!options.cold) return runAll(target, options);
  return withShapeFolder(target, (folder) => runAll({ model: folder, label: target.shape, isRandom: true }, options));
}

/** Options that contradict each other, or that would do nothing. */
function checkUsage(model: string | undefined, options: BenchCommandOptions, command: Command): void {
  const given = [...command.options, ...(command.parent?.options ?? [])]
    .filter((option) => command.getOptionValueSourceWithGlobals(option.attributeName()) === "cli")
    .map((option) => option.long);
  if (options.serve) {
    const idle = model ?? given.find((name) => !["--serve", "--port", "--quiet", "--no-tune"].includes(String(name)));
    if (idle) usageError(command, `--serve serves a page, where the rest is chosen; leave out ${idle}`);
  } else if (given.includes("--port")) usageError(command, "--port needs --serve");
  if (model !== undefined && options.shape) usageError(command, "give either a model or --shape, not both");
  if (options.json && options.md) usageError(command, "give either --json or --md, not both");
  if (options.cold && model !== undefined) usageError(command, "--cold is for shapes; a model is loaded cold anyway");
  if (options.dtype && model !== undefined) usageError(command, "--dtype is for shapes; a model has its own");
  const repeated = options.host.find((host, index) => options.host.indexOf(host) < index);
  if (repeated) usageError(command, `--host names ${repeated} twice`);
  for (const host of options.host) checkAdapter(command, host, options.adapter);
}

/** Runs on one host after another. What was measured is printed, also when a later host fails. */
async function runAll(target: Target, options: BenchCommandOptions): Promise<void> {
  const reports: Report[] = [];
  const commit = commitName();
  try {
    for (const host of options.host) reports.push(await runOn(host, target, commit, options));
  } finally {
    if (reports.length > 0) printReports(reports, options);
  }
}

async function runOn(host: Host, target: Target, commit: string, options: BenchCommandOptions): Promise<Report> {
  const { adapter, quiet = false } = options;
  const progress = showStages(host, quiet);
  const run: HostRun = { target, options: benchOptions(options), adapter, quiet, commit, onProgress: progress.update };
  try {
    return await benchOn(host, run);
  } finally {
    progress.end();
  }
}

function benchOptions(options: BenchCommandOptions): BenchOptions {
  const { prompt, generate, batch, runs, depth, ceilings = false, profile = false, tune } = options;
  return { prompts: prompt, generate, batches: batch, runs, depth, ceilings, profile, tune };
}

function printReports(reports: readonly Report[], { json, md }: BenchCommandOptions): void {
  if (json) printJson({ reports });
  else if (md) print(markdown(reports));
  else printText(reports);
}

function printText(reports: readonly Report[]): void {
  for (const { title, rows, alignments } of tablesOf(reports)) print(title, "", ...table(rows, alignments), "");
  print(...notesOf(reports));
}

interface Stages {
  update(progress: BenchProgress): void;
  end(): void;
}

const CLEAR_LINE = "\r\x1b[K";

/** Progress on stderr: a line that redraws itself on a terminal, else a line for each part that begins. */
function showStages(host: Host, quiet: boolean): Stages {
  if (quiet) return { update: () => undefined, end: () => undefined };
  if (process.stderr.isTTY) {
    return {
      update: ({ stage, detail }) => void process.stderr.write(`${CLEAR_LINE}${host}: ${stage}: ${detail}`),
      end: () => void process.stderr.write(CLEAR_LINE),
    };
  }
  let last = "";
  return {
    update({ stage }) {
      if (stage !== last) note(`superlens: ${host}: ${stage}`);
      last = stage;
    },
    end: () => undefined,
  };
}

/** A parser for "a,b,c". */
function listOf<Value>(parse: (text: string) => Value): (text: string) => Value[] {
  return (text) => text.split(",").map((part) => parse(part.trim()));
}

function parseHost(text: string): Host {
  const host = HOSTS.find((candidate) => candidate === text);
  if (host) return host;
  throw new InvalidArgumentError(`"${text}" is no host. Use ${HOSTS.join(", ")}, with commas between several.`);
}
