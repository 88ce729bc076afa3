/** `superlens generate`: a model continues a prompt. Text goes to stdout as it is generated; its speed goes to stderr. */
import { Command, Option } from "commander";
import { chatIds } from "../../model/chat.ts";
import {
  type CheckedGenerateOptions,
  checkGenerate,
  type FinishReason,
  type GenerateStep,
} from "../../model/generate.ts";
import type { Model } from "../../model/model.ts";
import type { ChatMessage } from "../../tokenizer/chat.ts";
import { oneInput } from "../input.ts";
import {
  addBosOption,
  bosOption,
  collect,
  examples,
  type GlobalOptions,
  type InputOptions,
  idsOption,
  numberBetween,
  usageError,
  wholeNumber,
} from "../options.ts";
import { note, print, printJson, write } from "../output.ts";
import { withModel } from "../session.ts";
import { stop } from "../stop.ts";

interface GenerateCommandOptions extends GlobalOptions, InputOptions {
  maxNewTokens: number;
  temperature?: number;
  topK?: number;
  topP?: number;
  minP?: number;
  repetitionPenalty?: number;
  seed?: number;
  stop?: string[];
  chat?: boolean;
  system?: string;
}

export function generateCommand(): Command {
  return addBosOption(new Command("generate"))
    .summary("continue a prompt")
    .description(
      "Prints PROMPT and lets MODEL continue it. It is greedy (takes the likeliest token each time) unless --temperature is above 0. Ctrl-C ends it.",
    )
    .argument("<model>", "folder, address or hf:owner/name")
    .argument("[prompt]", "the text to continue; quote it for the shell")
    .addOption(idsOption("; prints ids"))
    .option("--chat", "PROMPT is a user's message to a chat model; prints the answer alone")
    .addOption(new Option("--system <text>", "with --chat: the system message before it"))
    .addOption(
      new Option("--max-new-tokens <n>", "generate at most this many tokens").argParser(wholeNumber(1)).default(100),
    )
    .addOption(
      new Option("--temperature <t>", "0: greedy; 1: the model's own probabilities").argParser(numberBetween(0)),
    )
    .addOption(new Option("--top-k <n>", "sample among the n likeliest tokens").argParser(wholeNumber(1)))
    .addOption(
      new Option("--top-p <p>", "sample among the likeliest tokens that together have probability p").argParser(
        numberBetween(0, 1, true),
      ),
    )
    .addOption(
      new Option("--min-p <p>", "drop tokens whose probability is below p times the likeliest one's").argParser(
        numberBetween(0, 1),
      ),
    )
    .addOption(
      new Option("--repetition-penalty <x>", "above 1: tokens already in the text become less likely").argParser(
        numberBetween(0, undefined, true),
      ),
    )
    .addOption(new Option("--seed <n>", "the same seed gives the same text").argParser(wholeNumber(0)))
    .addOption(new Option("--stop <text>", "end before this text; repeatable").argParser(collect(String)))
    .addHelpText(
      "after",
      examples(
        ['generate ./model "Once upon a time"', "greedy, 100 tokens"],
        ['generate ./model "Once upon a time" --temperature 0.8 --top-p 0.95 --seed 1', "sampled, repeatable"],
        ["generate ./model $'Q: Who?\\nA:' --stop $'\\n' --max-new-tokens 20", "one line"],
        ['generate ./model "Name three rivers." --chat --system "Be brief."', "a chat model answers"],
        ['generate ./model --ids "5 6 7" --json', "ids in, one object out, with timings"],
      ),
    )
    .action(async (model: string, prompt: string | undefined, _options: unknown, command: Command) =>
      generate(model, prompt, command),
    );
}

/** What was generated, and when. */
interface Outcome {
  promptTokens: number;
  ids: number[];
  /** Undefined without a tokenizer. */
  text: string | undefined;
  finished: FinishReason | undefined;
  /** Seconds from the call to each token. */
  times: number[];
}

async function generate(source: string, prompt: string | undefined, command: Command): Promise<void> {
  const options = command.optsWithGlobals<GenerateCommandOptions>();
  const input = oneInput(command, prompt, options);
  const messages = messagesOf(command, input, options);
  checkSampling(command, options);
  const settings: CheckedGenerateOptions = { ...settingsOf(options), signal: stop.signal };
  await withModel(source, options, {
    async prepare(facts) {
      const given = messages ? await chatIds(facts, messages) : input;
      return checkGenerate(facts, given, { ...settings, ...bosOption(options) })[0] as number[];
    },
    async run({ base }, promptIds) {
      const shown = messages ? "" : typeof input === "string" ? input : undefined;
      const outcome = await run(base, promptIds, settings, options.json ? undefined : streamOf(shown, promptIds));
      if (options.json) return printJson(asJson(outcome));
      if (!options.quiet) note(summary(outcome));
    },
  });
}

/** The conversation of a chat; undefined for a prompt to be continued. */
function messagesOf(
  command: Command,
  input: string | number[],
  { chat, system, bos }: GenerateCommandOptions,
): ChatMessage[] | undefined {
  if (!chat && system !== undefined) usageError(command, "--system is for a chat: add --chat");
  if (!chat) return undefined;
  if (typeof input !== "string") return usageError(command, "--chat is for a prompt of text, not for --ids");
  if (!bos) usageError(command, "--no-bos is not for --chat: the chat template decides about BOS");
  const before = system === undefined ? [] : [{ role: "system", content: system }];
  return [...before, { role: "user", content: input }];
}

/** Settings of sampling do nothing without a temperature. Whoever gives one expects an effect, so it is refused. */
function checkSampling(command: Command, options: GenerateCommandOptions): void {
  if (options.stop?.includes("")) usageError(command, "--stop is empty, which every text contains; leave it out");
  const { temperature, topK, topP, minP, seed } = options;
  if (temperature !== undefined && temperature > 0) return;
  const idle = {
    "--top-k": topK,
    "--top-p": topP,
    "--min-p": minP,
    ...(temperature === undefined && { "--seed": seed }),
  };
  const given = Object.entries(idle).filter(([, value]) => value !== undefined);
  if (given.length === 0) return;
  usageError(
    command,
    `${given.map(([name]) => name).join(" and ")} is for sampling: add --temperature above 0 (1: the model's own probabilities)`,
  );
}

/** Where the text goes as it is generated: first the prompt, then each step, then the end of the line. */
interface Stream {
  begin(): void;
  step(step: GenerateStep): void;
  end(): void;
}

/** Text after a prompt of text, ids after ids. */
function streamOf(prompt: string | undefined, promptIds: readonly number[]): Stream {
  return {
    begin: () => write(prompt ?? promptIds.join(" ")),
    step: ({ text, tokens }) => write(prompt === undefined ? ` ${tokens[0]}` : text),
    end: () => print(""),
  };
}

async function run(
  model: Model,
  promptIds: number[],
  settings: CheckedGenerateOptions,
  stream?: Stream,
): Promise<Outcome> {
  const text = model.tokenizer && "";
  const outcome: Outcome = { promptTokens: promptIds.length, ids: [], text, finished: undefined, times: [] };
  stream?.begin();
  const started = performance.now();
  try {
    for await (const step of model.generate(promptIds, settings)) {
      outcome.times.push((performance.now() - started) / 1000);
      record(outcome, step);
      stream?.step(step);
    }
  } finally {
    stream?.end();
  }
  return outcome;
}

function settingsOf(options: GenerateCommandOptions): CheckedGenerateOptions {
  const { maxNewTokens, temperature, topK, topP, minP, repetitionPenalty, seed, stop: stops } = options;
  return { maxNewTokens, temperature, topK, topP, minP, repetitionPenalty, seed, stop: stops };
}

function record(outcome: Outcome, step: GenerateStep): void {
  outcome.ids.push(step.tokens[0] as number);
  outcome.finished = step.finished[0];
  if (outcome.text !== undefined) outcome.text += step.text;
}

/** Tokens before the one from which the rate counts: kernels compile for the prompt, and again for the first single token. */
const WARM_UP = 2;

/** The first token's seconds, compiling included, and the rate of those after the second, which wait for no compiler. */
export function timingsOf({ promptTokens, ids, times }: Pick<Outcome, "promptTokens" | "ids" | "times">) {
  const seconds = (times.at(-1) ?? 0) - (times[WARM_UP - 1] ?? 0);
  const decodeTokensPerSecond = ids.length > WARM_UP ? (ids.length - WARM_UP) / Math.max(seconds, 1e-9) : null;
  return { promptTokens, firstTokenSeconds: times[0] ?? null, newTokens: ids.length, decodeTokensPerSecond };
}

function asJson(outcome: Outcome): unknown {
  const { ids, text, finished } = outcome;
  return { ids, text: text ?? null, finished: finished ?? null, timings: timingsOf(outcome) };
}

function summary(outcome: Outcome): string {
  const { promptTokens, firstTokenSeconds, newTokens, decodeTokensPerSecond: rate } = timingsOf(outcome);
  const prompt = `${promptTokens} prompt ${promptTokens === 1 ? "token" : "tokens"}`;
  const first = `the first new one after ${(firstTokenSeconds ?? 0).toFixed(2)} s, compiling included`;
  const rest = rate === null ? "" : `, the last ${newTokens - WARM_UP} at ${rate.toFixed(1)} tokens/s`;
  return `superlens: ${prompt}, ${first}; ${newTokens} new${rest}`;
}
