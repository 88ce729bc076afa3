/** The command line as a value: every command with its options, and what is checked before any of them acts. */
import { Command, type Option } from "commander";
import { attentionCommand } from "./commands/attention.ts";
import { attributeCommand } from "./commands/attribute.ts";
import { backwardCommand } from "./commands/backward.ts";
import { benchCommand } from "./commands/bench.ts";
import { compareCommand } from "./commands/compare.ts";
import { constructCommand } from "./commands/construct.ts";
import { demoCommand } from "./commands/demo.ts";
import { familiesCommand } from "./commands/families.ts";
import { featuresCommand } from "./commands/features.ts";
import { forwardCommand } from "./commands/forward.ts";
import { generateCommand } from "./commands/generate.ts";
import { inspectCommand } from "./commands/inspect.ts";
import { lensCommand } from "./commands/lens.ts";
import { paperCommand } from "./commands/paper.ts";
import { patchCommand } from "./commands/patch.ts";
import { probsCommand } from "./commands/probs.ts";
import { serveCommand } from "./commands/serve.ts";
import { testPromptCommand } from "./commands/test-prompt.ts";
import { tokenizeCommand } from "./commands/tokenize.ts";
import { trainCommand } from "./commands/train.ts";
import { tuneCommand } from "./commands/tune.ts";
import { verifyCommand } from "./commands/verify.ts";
import { addGlobalOptions, examples, type GlobalOptions, usageError, watchRepeats } from "./options.ts";
import { note, noteJson } from "./output.ts";
import { packageVersion } from "./package.ts";

/** Commands that read no weights of the user's, or time the reading. They refuse options that would then do nothing. */
const READ_NO_WEIGHTS = ["tokenize", "families", "construct", "verify", "serve", "bench"];

const COMMANDS = [
  demoCommand,
  inspectCommand,
  familiesCommand,
  tokenizeCommand,
  generateCommand,
  probsCommand,
  compareCommand,
  testPromptCommand,
  forwardCommand,
  backwardCommand,
  lensCommand,
  featuresCommand,
  attentionCommand,
  patchCommand,
  attributeCommand,
  trainCommand,
  constructCommand,
  verifyCommand,
  paperCommand,
  serveCommand,
  benchCommand,
  tuneCommand,
];

const MODELS = `
MODEL is a folder with config.json and model.safetensors, an http(s):// address of such a folder, or
hf:owner/name[@revision] from the Hugging Face Hub (kept on disk after the first time); or a .gguf file in one of them.

Environment: SUPERLENS_ADAPTER chooses the adapter; SUPERLENS_DEBUG=1 adds the stack to an error.
Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.`;

/** What is wrong with the arguments, for people and for programs. */
const usageAsText = (text: string, write: (text: string) => void) => write(text.replace(/^error: /, "superlens: "));
const usageAsJson = (text: string) => noteJson({ code: "cli/usage", message: text.replace(/^error: /, "").trimEnd() });

/**
 * A program for one parse: `parseAsync` runs the command.
 * @param asJson wrong usage is told as JSON.
 */
export function buildProgram(asJson = false): Command {
  const program = addGlobalOptions(new Command("superlens"))
    .description("Look inside language models on WebGPU, and change what you see.")
    .version(packageVersion(), "-V, --version", "print the version")
    .configureHelp({ showGlobalOptions: true, helpWidth: 110 })
    .configureOutput({ outputError: asJson ? usageAsJson : usageAsText })
    .showHelpAfterError(
      asJson ? false : "`superlens --help` lists the commands, `superlens COMMAND --help` explains one.",
    )
    .exitOverride()
    .addHelpText("after", MODELS)
    .addHelpText(
      "after",
      examples(
        ["inspect hf:openai-community/gpt2", "what is in a model, and what it needs"],
        ['generate ./TinyStories-656K "Once upon a time"', "continue the text"],
        ['probs ./TinyStories-656K "The cat sat on the" --answers " mat, chair"', "how likely these answers are"],
      ),
    );
  for (const make of COMMANDS) {
    const command = make();
    for (const each of [command, ...command.commands]) each.copyInheritedSettings(program).exitOverride();
    program.addCommand(command);
  }
  const repeated: Option[] = [];
  for (const command of [program, ...program.commands, ...program.commands.flatMap(({ commands }) => commands)])
    watchRepeats(command, (option) => repeated.push(option));
  program.hook("preAction", (_, command) => {
    const { checkFinite, residency, quiet } = command.optsWithGlobals<GlobalOptions>();
    const readsNone = READ_NO_WEIGHTS.includes(command.name());
    if (checkFinite && readsNone)
      usageError(command, `${command.name()} does not look at weights; superlens inspect MODEL --check-finite does`);
    if (residency && readsNone)
      usageError(command, `${command.name()} streams no weights; leave out --residency and --resident-bytes`);
    for (const { long } of quiet ? [] : repeated)
      note(`superlens: ${long} is given more than once; the last one counts`);
  });
  return program;
}
