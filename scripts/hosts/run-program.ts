/**
 * Launches a program of the command line on another host: `run-program.ts deno|chrome PROGRAM SETTINGS [MODEL_FOLDER]`.
 * Prints one JSON value a line, which `src/cli/elsewhere.ts` reads.
 */
import { fileURLToPath } from "node:url";
import { inChromium } from "./chromium.ts";
import { inDeno } from "./deno.ts";
import { PROGRAM_MARK, type ProgramLine } from "./lines.ts";

/** Large models take long on a host with a slow adapter. */
const TIME_LIMIT_MS = 3_600_000;

const HOSTS = {
  deno: { run: inDeno, entry: "program-deno.ts" },
  chrome: { run: inChromium, entry: "program-browser.ts" },
};

const [, , host = "", program = "", settings = "{}", modelFolder] = process.argv;
const { run, entry } = HOSTS[host as keyof typeof HOSTS];
const log: string[] = [];

function onLine(line: string): void {
  const at = line.indexOf(PROGRAM_MARK);
  if (at >= 0) console.log(line.slice(at + PROGRAM_MARK.length));
  else if (line.trim()) log.push(line);
}

try {
  await run({
    entry: fileURLToPath(new URL(entry, import.meta.url)),
    args: [program, settings],
    folders: modelFolder === undefined ? {} : { "/model/": modelFolder },
    onLine,
    timeLimitMs: TIME_LIMIT_MS,
  });
} catch (error) {
  const reason = error instanceof Error ? error.message : String(error);
  const line: ProgramLine = { failure: [reason, ...log.slice(-3)].join(" | ") };
  console.log(JSON.stringify(line));
}
