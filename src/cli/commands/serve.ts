/** `superlens serve`: the page that looks inside a model in the browser. */
import { Command } from "commander";
import { examples, type GlobalOptions, wholeNumber } from "../options.ts";
import { untilInterrupted } from "../served-page.ts";
import { serveSite } from "../site.ts";

interface ServeOptions extends GlobalOptions {
  port: number;
}

export function serveCommand(): Command {
  return new Command("serve")
    .summary("look inside a model in your browser")
    .description(
      "Serves a page on this computer that runs models in the browser: every activation can be looked at, changed and compared. Models come from this package, from Hugging Face, from an address or from your files, which do not leave the computer. The same files lie in dist/page of the package, for any static host.",
    )
    .option("--port <n>", "the port; 0 takes a free one", wholeNumber(0, 65535), 0)
    .addHelpText(
      "after",
      examples(["serve", "prints the address to open"], ["serve --port 8080", "always the same address"]),
    )
    .action(async (_options: unknown, command: Command) => {
      const { port, quiet } = command.optsWithGlobals<ServeOptions>();
      await untilInterrupted(await serveSite(port), "", quiet);
    });
}
