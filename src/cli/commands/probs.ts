/** `superlens probs`: which answer does the model expect? Answers of several tokens count by the chain rule. */
import { Command, Option } from "commander";
import { prefixesOf, togetherOf } from "../../model/answer-overlap.ts";
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
import { areIds, type Prompts, promptsOption, readBatch } from "../prompts.ts";
import { withModel } from "../session.ts";
import { stop } from "../stop.ts";

const BAR_WIDTH = 30;

interface ProbsOptions extends GlobalOptions, InputOptions {
  prompts?: string;
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
    .addOption(promptsOption().conflicts("ids"))
    .addOption(answers.argParser(collect((text) => text.split(","))).makeOptionMandatory())
    .addOption(tokenizationOption())
    .addHelpText(
      "after",
      examples(
        [
          'probs ./model "The capital of France is" --answers " Paris, Rome, the city of light"',
          "most tokenizers want the space before a word",
        ],
        ['probs ./model --prompts questions.txt --answers " Paris, Rome"', "after each line of a file"],
        ['probs ./model --ids "5 6 7" --answers "8,9 10"', "token ids: compares the token 8 with 9 followed by 10"],
      ),
    )
    .action(async (model: string, prompt: string | undefined, _options: unknown, command: Command) =>
      probs(model, prompt, command),
    );
}

async function probs(source: string, prompt: string | undefined, command: Command): Promise<void> {
  const options = command.optsWithGlobals<ProbsOptions>();
  const prompts = await promptsOf(command, prompt, options);
  const hasIds = areIds(prompts);
  const names = options.answers.flat();
  const answers = parseAnswers(command, names, hasIds);
  if (hasIds && command.getOptionValueSource("tokenization") === "cli")
    usageError(command, "--tokenization is for text; with ids the answers are tokens already");
  const settings = { ...bosOption(options), ...(!hasIds && { tokenization: options.tokenization }) };
  const ranked = await withModel(source, options, {
    prepare: (facts) => prompts.map((each) => answerTokens(facts, each, answers, settings)),
    async run({ base }, prepared) {
      const all: Answer[][] = [];
      for (const { promptIds, tokens } of prepared)
        all.push(rankedOf(names, await base.logProbs(promptIds, tokens, { signal: stop.signal })));
      return all;
    },
  });
  const each = ranked.map((list, index) => ({ prompt: prompts[index] as string | number[], answers: list }));
  if (options.prompts === undefined) showOne(ranked[0] as Answer[], options.json);
  else if (options.json) printJson(each);
  else
    for (const one of each) {
      print(typeof one.prompt === "string" ? quoted(one.prompt) : one.prompt.join(" "));
      printBars(one.answers);
      print("");
    }
}

/** The prompts of the file, or the one that was given. */
async function promptsOf(command: Command, prompt: string | undefined, options: ProbsOptions): Promise<Prompts> {
  if (options.prompts === undefined) return [oneInput(command, prompt, options)] as Prompts;
  if (prompt !== undefined) usageError(command, "give either a prompt or --prompts, not both");
  return await readBatch(command, { bos: options.bos, prompts: options.prompts });
}

type Answer = AnswerLogProb & { answer: string };

/** The likeliest first. */
function rankedOf(names: readonly string[], results: readonly AnswerLogProb[]): Answer[] {
  return results
    .map((result, index): Answer => ({ answer: names[index] as string, ...result }))
    .sort((a, b) => b.logProb - a.logProb);
}

function showOne(ranked: readonly Answer[], json: boolean | undefined): void {
  if (json) printJson(ranked);
  else printBars(ranked);
}

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
  print(...overlapsOf(ranked), `together ${percent(togetherOf(ranked))}`);
}

/** A line for each answer that begins another one; of equal answers one line. */
function overlapsOf(ranked: readonly Answer[]): string[] {
  const tokens = ranked.map((one) => one.tokens);
  return prefixesOf(tokens).flatMap(([shorter, longer]) => {
    const [first, second] = [ranked[shorter], ranked[longer]] as [Answer, Answer];
    if (first.tokens.length < second.tokens.length)
      return [`${quoted(first.answer)} begins ${quoted(second.answer)}: its probability includes that one's`];
    return shorter < longer ? [`${quoted(first.answer)} and ${quoted(second.answer)} are the same tokens`] : [];
  });
}
