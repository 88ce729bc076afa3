/**
 * The command `superlens`: one file a command in `commands/`, and here only how a run ends. Exit codes: 0 done,
 * 1 failed (one line on stderr says why), 2 wrong usage, 130 interrupted.
 */
import { CommanderError } from "commander";
import "../node.ts";
import { reportFailure } from "./output.ts";
import { buildProgram } from "./program.ts";
import { stop } from "./stop.ts";

const FAILED = 1;
const WRONG_USAGE = 2;

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
