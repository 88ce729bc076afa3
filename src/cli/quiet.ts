/**
 * `--quiet` is quiet, native code too. Dawn writes two lines to stderr for every lavapipe adapter, and has no switch for
 * them. So where lavapipe is installed, a quiet command runs in a child process, and its stderr comes through here without
 * those two lines. All else that native code says is passed on.
 */
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { vulkanDrivers } from "../gpu/vulkan.node.ts";

/** lavapipe allows a million dynamic buffers, and Dawn says that it uses 16. Nothing depends on it. */
const NOISE = /^Warning: max\w+ artificially reduced from \d+ to \d+ to fit dynamic offset allocation limit\.$/;

/** Set for the child. */
const FILTERED = "SUPERLENS_FILTERED";

/** Signals that end a command. */
const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

export function needsFilter(args: readonly string[]): boolean {
  const isQuiet = args.includes("--quiet") && process.env[FILTERED] === undefined;
  return isQuiet && process.platform === "linux" && vulkanDrivers().some(({ kind }) => kind === "lavapipe");
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
    if (!NOISE.test(line)) process.stderr.write(`${line}\n`);
  }
  const [code, signal] = await ended;
  if (code !== null) return code;
  for (const name of SIGNALS) process.removeAllListeners(name);
  process.kill(process.pid, signal as NodeJS.Signals);
  return 1;
}
