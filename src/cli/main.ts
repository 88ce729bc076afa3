/** Where the command `superlens` begins: it runs here, or, to be quiet, in a process whose stderr is filtered. */
import { needsFilter, runFiltered } from "./quiet.ts";

process.exitCode = needsFilter(process.argv) ? await runFiltered() : await (await import("./run.ts")).run();
