/** `superlens probs`: which answer does the model expect? Answers of several tokens count by the chain rule. */
import { Command, Option } from "commander";
import { type AnswerLogProb, answerTokens, type LogProbsOptions } from "../../model/log-probs.ts";
import { oneInput, parseAnswers } from "../input.ts";
import {
  addBosOption,
  bosOption,
  collect,
  examples,
  type GlobalOptions,
  type InputOptions,
  idsOption,
  tokenizationOption,
  usageError,
} from "../options.ts";
import { bar, percent, print, printJson, quoted, table } from "../output.ts";
import { withModel } from "../session.ts";
import { stop } from "../stop.ts";

const BAR_WIDTH = 30;

interface ProbsOptions extends GlobalOptions, InputOptions {
  answers: string[][];
  tokenization?: LogProbsOptions["tokenization"];
}

export function probsCommand(): Command {
  const answers = new Option(
    "--answers <list>",
    "answers with commas between them, taken to the letter (spaces count); repeatable",
  );
  return addBosOption(new Command("probs"))
    .summary("compare the probabilities of answers to a prompt")
    .description(
      "Gives the probability of each answer right after PROMPT. It is the product of the probabilities of the answer's tokens, each given all tokens before it.",
    )
    .argument("<model>", "folder, address or hf:owner/name")
    .argument("[prompt]", "the text before the answer; quote it for the shell")
    .addOption(idsOption("; the answers are then ids too"))
    .addOption(answers.argParser(collect((text) => text.split(","))).makeOptionMandatory())
    .addOption(tokenizationOption())
    .addHelpText(
      "after",
      examples(
        [
          'probs ./model "The capital of France is" --answers " Paris, Rome, the city of light"',
          "most tokenizers want the space before a word",
        ],
        ['probs ./model --ids "5 6 7" --answers "8,9 10"', "token ids: compares the token 8 with 9 followed by 10"],
      ),
    )
    .action(async (model: string, prompt: string | undefined, _options: unknown, command: Command) =>
      probs(model, prompt, command),
    );
}

async function probs(source: string, prompt: string | undefined, command: Command): Promise<void> {
  const options = command.optsWithGlobals<ProbsOptions>();
  const input = oneInput(command, prompt, options);
  const names = options.answers.flat();
  const answers = parseAnswers(command, names, typeof input !== "string");
  if (options.ids && command.getOptionValueSource("tokenization") === "cli")
    usageError(command, "--tokenization is for text; with --ids the answers are tokens already");
  const settings = { ...bosOption(options), ...(!options.ids && { tokenization: options.tokenization }) };
  const results = await withModel(source, options, {
    prepare: (facts) => answerTokens(facts, input, answers, settings),
    run: ({ base }, { promptIds, tokens }) => base.logProbs(promptIds, tokens, { signal: stop.signal }),
  });
  const ranked = results
    .map((result, index): Answer => ({ answer: names[index] as string, ...result }))
    .sort((a, b) => b.logProb - a.logProb);
  if (options.json) printJson(ranked);
  else printBars(ranked);
}

type Answer = AnswerLogProb & { answer: string };

/** The bars are drawn to the likeliest answer, so that small probabilities can be compared too. */
function printBars(ranked: readonly Answer[]): void {
  const largest = ranked[0]?.probability ?? 1;
  const rows = ranked.map(({ answer, probability, logProb, tokens }) => [
    percent(probability),
    bar(probability / largest, BAR_WIDTH).padEnd(BAR_WIDTH),
    logProb.toFixed(4),
    String(tokens.length),
    quoted(answer),
  ]);
  print(...table([["prob", "", "log prob", "tokens", "answer"], ...rows], ["right", "left", "right", "right"]));
  const total = ranked.reduce((sum, { probability }) => sum + probability, 0);
  print(`together ${percent(total)}`);
}
