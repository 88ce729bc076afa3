/**
 * The command `superlens`: one file a command in `commands/`, and here only how a run ends. Exit codes: 0 done,
 * 1 failed (one line on stderr says why), 2 wrong usage, 130 interrupted.
 */
import { Command, CommanderError } from "commander";
import "../node.ts";
import { benchCommand } from "./commands/bench.ts";
import { constructCommand } from "./commands/construct.ts";
import { demoCommand } from "./commands/demo.ts";
import { forwardCommand } from "./commands/forward.ts";
import { generateCommand } from "./commands/generate.ts";
import { inspectCommand } from "./commands/inspect.ts";
import { probsCommand } from "./commands/probs.ts";
import { tokenizeCommand } from "./commands/tokenize.ts";
import { tuneCommand } from "./commands/tune.ts";
import { verifyCommand } from "./commands/verify.ts";
import { addGlobalOptions, examples, type GlobalOptions, refuseRepeats, usageError } from "./options.ts";
import { reportFailure } from "./output.ts";
import { packageVersion } from "./package.ts";
import { stop } from "./stop.ts";

const FAILED = 1;
const WRONG_USAGE = 2;

/** Commands that read no weights of anybody's, or time the reading: `--check-finite` would be a promise that is not kept. */
const READ_NO_WEIGHTS = ["tokenize", "construct", "verify", "bench"];

const COMMANDS = [
  demoCommand,
  inspectCommand,
  tokenizeCommand,
  generateCommand,
  probsCommand,
  forwardCommand,
  constructCommand,
  verifyCommand,
  benchCommand,
  tuneCommand,
];

const MODELS = `
MODEL is a folder with config.json and model.safetensors, an http(s):// address of such a folder, or
hf:owner/name[@revision] from the Hugging Face Hub (kept on disk after the first time).

Environment: SUPERLENS_ADAPTER chooses the adapter, SUPERLENS_DEBUG=1 shows stacks of errors.
Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.`;

function buildProgram(): Command {
  const program = addGlobalOptions(new Command("superlens"))
    .description("Look inside language models on WebGPU, and change what you see.")
    .version(packageVersion(), "-V, --version", "print the version")
    .configureHelp({ showGlobalOptions: true, helpWidth: 110 })
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, "superlens: ")) })
    .showHelpAfterError("`superlens --help` lists the commands, `superlens COMMAND --help` explains one.")
    .exitOverride()
    .addHelpText("after", MODELS)
    .addHelpText(
      "after",
      examples(
        ["inspect hf:openai-community/gpt2", "what is in a model, and what it needs"],
        ['generate ./TinyStories-656K "Once upon a time"', "let it write"],
        ['probs ./TinyStories-656K "The cat sat on the" --answers " mat, chair"', "how likely are these answers"],
      ),
    );
  for (const make of COMMANDS) program.addCommand(make().copyInheritedSettings(program).exitOverride());
  program.hook("preAction", (_, command) => {
    if (command.optsWithGlobals<GlobalOptions>().checkFinite && READ_NO_WEIGHTS.includes(command.name()))
      usageError(command, `${command.name()} does not look at weights; superlens inspect MODEL --check-finite does`);
  });
  for (const command of [program, ...program.commands]) refuseRepeats(command);
  return program;
}

async function main(): Promise<number> {
  stop.listen();
  try {
    await buildProgram().parseAsync();
    return stop.exitCode;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : WRONG_USAGE;
    if (stop.signal.aborted) return stop.exitCode;
    reportFailure(error);
    return FAILED;
  }
}

process.exitCode = await main();
