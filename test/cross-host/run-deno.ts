/**
 * Runs the suite in Deno, which comes from npm. Its WebGPU is wgpu; on Linux it uses the SwiftShader from npm too, so
 * that the result does not depend on the machine. `SUPERLENS_ADAPTER=hardware` or `lavapipe` takes the machine's drivers.
 */
import { spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { unpackSwiftShader } from "../../src/hosts/swiftshader.node.ts";
import {
  bundleSuite,
  collectLines,
  type Entry,
  type HostReport,
  runAsProgram,
  serve,
  TIME_LIMIT_MS,
} from "./runner.ts";

export async function runDeno(isPrinting = false): Promise<HostReport> {
  const report: HostReport = { host: "deno", results: [], log: [] };
  const code = await inDeno("entry-deno.ts", [], collectLines(report, isPrinting), TIME_LIMIT_MS);
  if (code !== 0) report.log.push(`deno ended with ${code}`);
  return report;
}

/**
 * Runs a program in Deno with the fixtures' URL and `args` as arguments; `onLine` gets all it prints. A `modelFolder` is
 * served beside the fixtures, as `/model/`.
 * @returns the exit code or the signal that ended Deno.
 */
export async function inDeno(
  entry: Entry,
  args: readonly string[],
  onLine: (line: string) => void,
  timeLimit: number,
  modelFolder?: string,
): Promise<number | string | null> {
  const server = await serve({}, modelFolder);
  const folder = await mkdtemp(join(tmpdir(), "superlens-deno-"));
  try {
    const bundle = join(folder, "suite.mjs");
    await writeFile(bundle, await bundleSuite(entry));
    return await runProcess([bundle, server.fixtureUrl, ...args], onLine, timeLimit);
  } finally {
    await rm(folder, { recursive: true, force: true });
    await server.close();
  }
}

async function runProcess(
  args: string[],
  onLine: (line: string) => void,
  timeLimit: number,
): Promise<number | string | null> {
  const flags = ["run", "--allow-all", "--no-config", "--no-lock", "--no-remote", "--no-npm"];
  const child = spawn(denoProgram(), [...flags, ...args], {
    env: { ...process.env, ...vulkanEnvironment(), DENO_NO_UPDATE_CHECK: "1", NO_COLOR: "1" },
    stdio: ["ignore", "pipe", "pipe"],
    timeout: timeLimit,
    killSignal: "SIGKILL",
  });
  for (const stream of [child.stdout, child.stderr]) createInterface({ input: stream }).on("line", onLine);
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code, signal) => resolve(code ?? signal));
  });
}

/** The path of Deno's executable; npm may have skipped the package's install script, which this repeats. */
function denoProgram(): string {
  const { runInstall } = createRequire(import.meta.url)("deno/install_api.cjs") as { runInstall(): string };
  return runInstall();
}

function vulkanEnvironment(): Record<string, string> {
  if (["hardware", "lavapipe"].includes(process.env.SUPERLENS_ADAPTER ?? "")) return {};
  const bundle = unpackSwiftShader();
  if (!bundle) return {};
  return { VK_ICD_FILENAMES: bundle.manifest, VK_DRIVER_FILES: bundle.manifest, LD_LIBRARY_PATH: bundle.folder };
}

await runAsProgram(import.meta.url, runDeno);
