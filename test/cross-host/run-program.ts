/**
 * Launches a program of the command line on another host: `run-program.ts deno|chrome PROGRAM SETTINGS [MODEL_FOLDER]`.
 * Prints one JSON value a line, which `src/cli/elsewhere.ts` reads.
 */
import { PROGRAM_MARK, type ProgramLine } from "./protocol.ts";
import { inChromium } from "./run-chromium.ts";
import { inDeno } from "./run-deno.ts";

/** Large models take long on a host with a slow adapter. */
const TIME_LIMIT_MS = 3_600_000;

const [, , host, program = "", settings = "{}", modelFolder] = process.argv;
const log: string[] = [];

function onLine(line: string): void {
  const at = line.indexOf(PROGRAM_MARK);
  if (at >= 0) console.log(line.slice(at + PROGRAM_MARK.length));
  else if (line.trim()) log.push(line);
}

function fail(reason: string): void {
  const line: ProgramLine = { failure: [reason, ...log.slice(-3)].join(" | ") };
  console.log(JSON.stringify(line));
}

try {
  if (host === "deno") {
    const code = await inDeno("program-deno.ts", [program, settings], onLine, TIME_LIMIT_MS, modelFolder);
    if (code !== 0) fail(`deno ended with ${code}`);
  } else {
    await inChromium("program-browser.ts", { program, settings }, onLine, TIME_LIMIT_MS, modelFolder);
  }
} catch (error) {
  fail(error instanceof Error ? error.message : String(error));
}
