/**
 * `--quiet` silences native code too. Where native code writes lines by itself (`noise.node.ts`), a quiet command runs in a child
 * process, and this file passes on its stderr without those lines.
 */
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { isNoise, isNoisy } from "../hosts/noise.node.ts";

/** Set for the child. */
const FILTERED = "SUPERLENS_FILTERED";

/** Signals that end a command. */
const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

export function needsFilter(args: readonly string[]): boolean {
  return args.includes("--quiet") && process.env[FILTERED] === undefined && isNoisy();
}

/** Runs the same command in a child, and gives its exit code, or ends by the signal that ended it. */
export async function runFiltered(): Promise<number> {
  const child = spawn(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
    stdio: ["inherit", "inherit", "pipe"],
    env: { ...process.env, [FILTERED]: "1" },
  });
  for (const signal of SIGNALS) process.on(signal, () => child.kill(signal));
  process.stderr.on("error", () => undefined);
  const ended = new Promise<[code: number | null, signal: NodeJS.Signals | null]>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code, signal) => resolve([code, signal]));
  });
  for await (const line of createInterface({ input: child.stderr })) {
    if (!isNoise(line)) process.stderr.write(`${line}\n`);
  }
  const [code, signal] = await ended;
  if (code !== null) return code;
  for (const name of SIGNALS) process.removeAllListeners(name);
  process.kill(process.pid, signal as NodeJS.Signals);
  return 1;
}
