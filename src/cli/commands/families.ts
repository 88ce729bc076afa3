/** `superlens families`: the model types that superlens runs, and what is special of each. Nothing is read and no GPU is needed. */
import { Command } from "commander";
import { FAMILIES } from "../../model/families/index.ts";
import { FAMILY_NOTES } from "../../model/families/notes.ts";
import { examples, type GlobalOptions } from "../options.ts";
import { print, printJson, table } from "../output.ts";

export function familiesCommand(): Command {
  return new Command("families")
    .summary("list the model types that run")
    .description(
      "Lists every model_type of a config.json that superlens runs, with what is special of it. docs/families.md has the settings of each.",
    )
    .addHelpText("after", examples(["families --json | jq -r 'keys[]'", "the names alone"]))
    .action((_options: unknown, command: Command) => {
      const { json } = command.optsWithGlobals<GlobalOptions>();
      const rows = [...FAMILIES.keys()].sort().map((type) => [type, FAMILY_NOTES[type] ?? ""] as const);
      if (json) printJson(Object.fromEntries(rows));
      else for (const line of table(rows)) print(line);
    });
}
