/** `superlens tokenize`: how a model sees text. It reads only the tokenizer, so it needs neither weights nor a GPU. */
import { Command } from "commander";
import { requireTokenizer } from "../../model/input.ts";
import { openModelSource, openTokenizer, readSpec } from "../../model/load.ts";
import type { Tokenizer } from "../../tokenizer/index.ts";
import { addBosOption, bosOption, examples, type GlobalOptions, type InputOptions } from "../options.ts";
import { print, printJson, quoted, table } from "../output.ts";
import { whileOpening } from "../session.ts";
import { stop } from "../stop.ts";

export function tokenizeCommand(): Command {
  return addBosOption(new Command("tokenize"))
    .summary("show the tokens of a text")
    .description("Shows the token ids of TEXT and the text of each token. No GPU is needed.")
    .argument("<model>", "folder, address or hf:owner/name")
    .argument("<text>", "the text; quote it for the shell")
    .addHelpText(
      "after",
      examples(
        ['tokenize hf:openai-community/gpt2 "Hello world"', "position, id and text of each token"],
        ['tokenize ./model "Hello" --no-bos', "without the BOS token that some tokenizers add"],
        ['tokenize ./model "Hello" --json', "{ ids, tokens }"],
      ),
    )
    .action((model: string, text: string, _options: unknown, command: Command) =>
      stop.until(tokenize(model, text, command.optsWithGlobals())),
    );
}

async function tokenize(model: string, text: string, options: GlobalOptions & InputOptions): Promise<void> {
  const tokenizer = await tokenizerOf(model, options.quiet);
  const ids = tokenizer.encode(text, bosOption(options));
  const tokens = ids.map((id) => tokenizer.tokenText(id));
  if (options.json) printJson({ ids, tokens });
  else
    print(
      ...table(
        ids.map((id, position) => [String(position), String(id), quoted(tokens[position] as string)]),
        ["right", "right"],
      ),
    );
}

async function tokenizerOf(model: string, quiet: boolean | undefined): Promise<Tokenizer> {
  const checkpoint = await openModelSource(model, whileOpening(quiet));
  try {
    const { spec } = await readSpec(checkpoint);
    return requireTokenizer(await openTokenizer(checkpoint, spec), "Give token ids to the other commands.");
  } finally {
    await checkpoint.close();
  }
}
