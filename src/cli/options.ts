/**
 * Options that several commands share, and how their text becomes values. A text that does not fit is a usage error
 * (exit code 2) that names the option; commander prints it.
 */
import { type Command, InvalidArgumentError, Option } from "commander";
import { ADAPTER_CHOICES, type AdapterChoice } from "../hosts/adapters.ts";
import type { LoadOptions } from "../model/load.ts";
import { WEIGHTS_AS, type WeightsAs } from "../model/weights/plan.ts";
import { RESIDENCIES } from "../model/weights/residency.ts";

/** Options of every command, accepted before and after its name. */
export interface GlobalOptions {
  /** Absent: `SUPERLENS_ADAPTER`, or else `auto`. */
  adapter?: AdapterChoice;
  /** Print one JSON value in place of text for people. */
  json?: boolean;
  /** Refuse NaN and infinite weights. */
  checkFinite?: boolean;
  /** How matrices lie on the GPU. */
  weightsAs?: WeightsAs;
  /** Where the weights are between passes. */
  residency?: LoadOptions["residency"];
  /** Bytes of weights that may lie on the GPU where they are streamed. */
  residentBytes?: number;
  /** Nothing on stderr but errors. */
  quiet?: boolean;
  /** False: the default kernels, without timing others first. */
  tune?: boolean;
}

/** What a model is to run on: text or ids. */
export interface InputOptions {
  /** Sequences of token ids. */
  ids?: number[][];
  /** False: without the BOS token that the tokenizer would add. */
  bos: boolean;
}

export interface BatchOptions extends InputOptions {
  text?: string[];
}

export function addGlobalOptions(program: Command): Command {
  const adapter = new Option(
    "--adapter <kind>",
    "which WebGPU adapter to run on (default: $SUPERLENS_ADAPTER or auto)",
  );
  return program
    .addOption(adapter.choices(ADAPTER_CHOICES))
    .option("--json", "print one JSON value, for programs")
    .addOption(
      new Option(
        "--weights-as <type>",
        "how matrices lie on the GPU: quantised or rounded while they are read",
      ).choices(WEIGHTS_AS),
    )
    .addOption(
      new Option(
        "--residency <where>",
        "where weights are between passes; streamed: read block by block in each pass, for models that are larger than the GPU's memory",
      ).choices(RESIDENCIES),
    )
    .addOption(
      new Option(
        "--resident-bytes <bytes>",
        "stream, but keep as many blocks on the GPU as so many bytes have room for",
      )
        .argParser(wholeNumber(1))
        .implies({ residency: "streamed" }),
    )
    .option("--check-finite", "refuse weights that are NaN or infinite (reads every element)")
    .option("--quiet", "write nothing but errors to stderr")
    .option("--no-tune", "run with the default kernels, without timing candidates first");
}

export function addBosOption(command: Command): Command {
  return command.option("--no-bos", "leave out the BOS token that the tokenizer would add");
}

/** Token ids in place of a prompt. `then`: what else they change. */
export function idsOption(then = ""): Option {
  return new Option("--ids <ids>", `token ids in place of a prompt, as "5 6 7"${then}`).argParser(collect(parseIds));
}

/** How a prompt and its answer become tokens. */
export function tokenizationOption(): Option {
  const meaning = "joint: tokenize prompt and answer as one text; separate: tokenize the answer alone";
  return new Option("--tokenization <how>", meaning).choices(["joint", "separate"]).default("joint");
}

/** A batch of sequences, as ids or as text. */
export function addBatchOptions(command: Command): Command {
  const ids = new Option("--ids <ids>", 'token ids, as "5 6 7"; repeat it for a batch');
  return command
    .addOption(ids.argParser(collect(parseIds)).conflicts("text"))
    .addOption(new Option("--text <text>", "text; repeat it for a batch").argParser(collect(String)));
}

/** Parsers of options that may be repeated. */
const collecting = new WeakSet<object>();

/** Collects a repeated option: each use is parsed, told what came before, and appended. */
export function collect<Value>(
  parse: (text: string, earlier: readonly Value[]) => Value,
): (text: string, previous?: Value[]) => Value[] {
  const collector = (text: string, previous: Value[] = []) => [...previous, parse(text, previous)];
  collecting.add(collector);
  return collector;
}

/** Calls `onRepeat` when an option that takes one value is given again: the earlier value is then not used. */
export function watchRepeats(command: Command, onRepeat: (option: Option) => void): void {
  for (const option of command.options) {
    if (!option.required || (option.parseArg && collecting.has(option.parseArg))) continue;
    let uses = 0;
    command.on(`option:${option.name()}`, () => {
      uses += 1;
      if (uses === 2) onRepeat(option);
    });
  }
}

/** Token ids from "5 6 7", "5,6,7" or "[5, 6, 7]". */
export function parseIds(text: string): number[] {
  const words = text
    .replace(/^\s*\[|\]\s*$/g, "")
    .split(/[\s,]+/)
    .filter((word) => word !== "");
  const wrong = words.find((word) => !/^\d+$/.test(word));
  if (wrong !== undefined || words.length === 0) {
    const what = wrong === undefined ? "It holds no id." : `"${wrong}" is no token id.`;
    throw new InvalidArgumentError(`${what} Give whole numbers with spaces between them: "5 6 7".`);
  }
  return words.map(Number);
}

/** A parser for whole numbers from `least` to `most`, in digits. */
export function wholeNumber(least = Number.MIN_SAFE_INTEGER, most = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^[+-]?\d+$/.test(text) && value >= least && value <= most) return value;
    const lower = least === Number.MIN_SAFE_INTEGER ? "" : `, at least ${least}`;
    const upper = most === Number.MAX_SAFE_INTEGER ? "" : ` and at most ${most}`;
    throw new InvalidArgumentError(`It must be a whole number${lower}${upper}, in digits.`);
  };
}

/** 0.5, .5, 5e-1: what other languages read as the same number. */
const DECIMAL = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

/** A parser for numbers from `least` to `most`; `aboveLeast` when `least` itself will not do. */
export function numberBetween(
  least: number,
  most = Number.POSITIVE_INFINITY,
  aboveLeast = false,
): (text: string) => number {
  return (text) => {
    const value = Number(text);
    const inRange = value <= most && (aboveLeast ? value > least : value >= least);
    if (DECIMAL.test(text) && Number.isFinite(value) && inRange) return value;
    const lower = aboveLeast ? `above ${least}` : `at least ${least}`;
    throw new InvalidArgumentError(
      `It must be a number ${lower}${Number.isFinite(most) ? ` and at most ${most}` : ""}.`,
    );
  };
}

/** Ends with a usage error, exit code 2. */
export function usageError(command: Command, message: string): never {
  command.error(`error: ${message}`);
}

/** `--no-bos` beside ids would do nothing: they are taken as they are. */
export function refuseIdleBos(command: Command, { bos }: Pick<InputOptions, "bos">, ids: unknown): void {
  if (!bos && ids !== undefined) usageError(command, "--no-bos is for text; --ids are taken as they are");
}

/** The option `addBos`: the tokenizer decides unless `--no-bos` was given. */
export function bosOption({ bos }: Pick<InputOptions, "bos">): { addBos?: boolean } {
  return bos ? {} : { addBos: false };
}

/** Text for the help of a command, after its options. */
export function examples(...lines: [command: string, meaning: string][]): string {
  return `\nExamples:\n${lines.map(([command, meaning]) => `  $ superlens ${command}\n      ${meaning}`).join("\n")}\n`;
}
