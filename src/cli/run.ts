/**
 * One run of the command `superlens`, and how it ends. Each command has a file in `commands/`. Exit codes: 0 done,
 * 1 failed (one line on stderr says why), 2 wrong usage, 130 interrupted.
 */
import { CommanderError } from "commander";
import "../node.ts";
import { reportFailure, wantsJson } from "./output.ts";
import { buildProgram } from "./program.ts";
import { stop } from "./stop.ts";

const FAILED = 1;
const WRONG_USAGE = 2;

/** Runs what the arguments say; gives the exit code. */
export async function run(): Promise<number> {
  stop.listen();
  const asJson = wantsJson(process.argv);
  try {
    await buildProgram(asJson).parseAsync();
    return stop.exitCode;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : WRONG_USAGE;
    // What is still under way, such as a request that nobody answers, is not waited for.
    if (stop.signal.aborted) process.exit(stop.exitCode);
    reportFailure(error, asJson);
    return FAILED;
  }
}
