/** `superlens test-prompt`: does the model know the answer, and what would it say instead? */
import { Command, Option } from "commander";
import { type PromptTest, type TestedToken, testPrompt } from "../../hooks/index.ts";
import { prepareTest } from "../../hooks/readouts/test-prompt.ts";
import type { LogProbsOptions } from "../../model/log-probs.ts";
import { oneInput, parseAnswers } from "../input.ts";
import {
  addBosOption,
  bosOption,
  collect,
  examples,
  type GlobalOptions,
  type InputOptions,
  parseIds,
  tokenizationOption,
  usageError,
} from "../options.ts";
import { percent, print, printJson, quoted, table } from "../output.ts";
import { withModel } from "../session.ts";
import { stop } from "../stop.ts";

interface TestOptions extends GlobalOptions, InputOptions {
  text?: string;
  answer: string;
  tokenization?: LogProbsOptions["tokenization"];
}

export function testPromptCommand(): Command {
  return addBosOption(new Command("test-prompt"))
    .summary("rank an answer's tokens among all tokens")
    .description(
      "For each token of the answer: its rank (0 is the most likely), its probability, and the ten most likely tokens in its place.",
    )
    .argument("<model>", "folder, address or hf:owner/name")
    .option("--text <prompt>", "the text before the answer; quote it for the shell")
    .addOption(
      new Option("--ids <ids>", 'token ids in place of a text, as "5 6 7"; the answer is then ids too').argParser(
        collect(parseIds),
      ),
    )
    .requiredOption("--answer <text>", "the answer, taken to the letter (spaces count)")
    .addOption(tokenizationOption())
    .addHelpText(
      "after",
      examples(
        [
          'test-prompt ./model --text "The capital of France is" --answer " Paris"',
          "most tokenizers want the space before a word",
        ],
        ['test-prompt ./model --ids "5 6 7" --answer "9 10"', "token ids"],
      ),
    )
    .action(async (model: string, _options: unknown, command: Command) => run(model, command));
}

async function run(source: string, command: Command): Promise<void> {
  const options = command.optsWithGlobals<TestOptions>();
  const prompt = oneInput(command, options.text, options);
  const [answer] = parseAnswers(command, [options.answer], typeof prompt !== "string") as [string | number[]];
  if (options.ids && command.getOptionValueSource("tokenization") === "cli")
    usageError(command, "--tokenization is for text; with --ids the answer is tokens already");
  const settings = { ...bosOption(options), ...(!options.ids && { tokenization: options.tokenization }) };
  const result = await withModel(source, options, {
    prepare: (facts) => prepareTest(facts, { prompt, answer, ...settings }),
    run: (model, { promptIds, answerIds }) =>
      testPrompt(model, { prompt: promptIds, answer: answerIds, signal: stop.signal }),
  });
  if (options.json) printJson(result);
  else printTest(result);
}

function printTest({ tokens, probability }: PromptTest): void {
  for (const tested of tokens) printToken(tested);
  print(`the whole answer: ${percent(probability)}`);
}

function printToken({ position, token, text, rank, probability, top }: TestedToken): void {
  const name = (of: { token: number; text: string | undefined }) =>
    of.text === undefined ? String(of.token) : quoted(of.text);
  print(`position ${position}: ${name({ token, text })} has rank ${rank} and probability ${percent(probability)}`);
  const rows = top.map((each, place) => [String(place), percent(each.probability), each.logit.toFixed(3), name(each)]);
  print(...table([["rank", "prob", "logit", "token"], ...rows], ["right", "right", "right"]), "");
}
