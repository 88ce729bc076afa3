/** Runs the suite in a host that is another process, and collects the results that it prints. */
import { fileURLToPath, pathToFileURL } from "node:url";
import type { Launch } from "../../scripts/hosts/launch.ts";
import { isNight } from "../support/nightly.ts";
import { type CheckResult, NIGHT, RESULT_MARK } from "./protocol.ts";

export interface HostReport {
  host: "deno" | "chromium";
  results: CheckResult[];
  /** Everything else the host printed, and why it stopped if it did not end by itself. */
  log: string[];
}

/** A host that does not come to an end is stopped and counts as failed. */
const TIME_LIMIT_MS = 480_000;

/** What the suite reads, by the path that it is served under. */
export const SUITE_FOLDERS = {
  "/fixtures/": fileURLToPath(new URL("../fixtures/", import.meta.url)),
  "/weights/": fileURLToPath(new URL("../../weights/", import.meta.url)),
};

/** How the suite is run: whether its results are printed as they come, and the host's arguments (`protocol.ts`). */
export interface SuiteRun {
  isPrinting?: boolean;
  args?: readonly string[];
}

/** Runs the suite's entry for a host there. What ends the host early goes into the log. */
export async function runSuite(
  host: HostReport["host"],
  entry: string,
  run: (launch: Launch) => Promise<void>,
  { isPrinting = false, args = isNight ? [NIGHT] : [] }: SuiteRun,
): Promise<HostReport> {
  const report: HostReport = { host, results: [], log: [] };
  try {
    await run({
      entry: fileURLToPath(new URL(entry, import.meta.url)),
      args: [...args],
      folders: SUITE_FOLDERS,
      onLine: collectLines(report, isPrinting),
      timeLimitMs: TIME_LIMIT_MS,
    });
  } catch (error) {
    report.log.push(`${host} stopped: ${error instanceof Error ? error.message : error}`);
  }
  return report;
}

/** Sorts the lines a host prints into results and the rest, and prints results as TAP. */
function collectLines(report: HostReport, isPrinting: boolean): (line: string) => void {
  return (line) => {
    const at = line.indexOf(RESULT_MARK);
    if (at < 0) {
      if (line.trim()) report.log.push(line);
      return;
    }
    const result = JSON.parse(line.slice(at + RESULT_MARK.length)) as CheckResult;
    report.results.push(result);
    if (isPrinting) console.log(tapLine(report, result));
  };
}

/** `ok 3 - deno: name # 12 ms, note`, as the Test Anything Protocol has it. */
function tapLine({ host, results }: HostReport, { ok, name, milliseconds, note }: CheckResult): string {
  const detail = ok && note ? `, ${note}` : "";
  const head = `${ok ? "ok" : "not ok"} ${results.length} - ${host}: ${name} # ${milliseconds} ms${detail}`;
  return ok ? head : [head, ...note.split("\n").map((line) => `  ${line}`)].join("\n");
}

/** Runs a runner as a program of its own when `moduleUrl` is what Node was started with. */
export async function runAsProgram(moduleUrl: string, run: (how: SuiteRun) => Promise<HostReport>): Promise<void> {
  if (!process.argv[1] || pathToFileURL(process.argv[1]).href !== moduleUrl) return;
  console.log("TAP version 13");
  const { results, log } = await run({ isPrinting: true });
  console.log(`1..${results.length}`);
  for (const line of log) console.log(`# ${line}`);
  process.exitCode = results.length > 0 && results.every(({ ok }) => ok) ? 0 : 1;
}
