/** The input of a command: a prompt as text, or token ids for models without a tokenizer, but not both. */
import { type Command, Option } from "commander";
import { metricOption } from "./metric-option.ts";
import { type InputOptions, parseIds, refuseIdleBos, usageError, wholeNumber } from "./options.ts";

/** The one sequence of a command that takes `[prompt]` or `--ids`. */
export function oneInput(command: Command, prompt: string | undefined, options: InputOptions): string | number[] {
  const { ids } = options;
  if (prompt !== undefined && ids) usageError(command, "give either a prompt or --ids, not both");
  if (prompt !== undefined) return prompt;
  if (!ids) return usageError(command, "give a prompt, or token ids with --ids");
  refuseIdleBos(command, options, ids);
  if (ids.length > 1) usageError(command, "--ids may be given once here; `superlens forward` takes a batch");
  return ids[0] as number[];
}

/** What a command compares two prompts by: `twoPrompts` reads them, `resolveMetric` the metric. */
export function addPairOptions(command: Command): Command {
  return command
    .requiredOption("--clean <text>", "the prompt whose answer counts")
    .requiredOption("--corrupted <text>", "the prompt it is compared with, of as many tokens")
    .option("--ids", 'both prompts are token ids, as "5 6 7"')
    .addOption(metricOption(["logit", "logitDiff", "logProb", "prob", "kl"]))
    .addOption(
      new Option("--position <n>", "whose logits are measured; negative from the end (default: -1)").argParser(
        wholeNumber(),
      ),
    );
}

/** The two prompts of a command that takes `--clean` and `--corrupted`, as text or with `--ids` as ids. */
export function twoPrompts(
  command: Command,
  { clean, corrupted, ids }: { clean: string; corrupted: string; ids?: boolean },
): { clean: string | number[]; corrupted: string | number[] } {
  if (!ids) return { clean, corrupted };
  try {
    return { clean: parseIds(clean), corrupted: parseIds(corrupted) };
  } catch (error) {
    return usageError(command, `with --ids the prompts are ids. ${(error as Error).message}`);
  }
}

/** Answers as the model takes them: text, or ids when the prompt is ids. */
export function parseAnswers(command: Command, answers: readonly string[], asIds: boolean): (string | number[])[] {
  if (answers.some((answer) => answer === ""))
    usageError(command, "--answers holds an empty answer; write them as a,b,c");
  if (!asIds) return [...answers];
  try {
    return answers.map(parseIds);
  } catch (error) {
    return usageError(command, `with --ids the answers are ids too. ${(error as Error).message}`);
  }
}
