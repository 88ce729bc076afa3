/**
 * Runs a program in Deno, which comes from npm. Its WebGPU is wgpu; on Linux it uses the SwiftShader from npm too, so that
 * the result does not depend on the machine. `SUPERLENS_ADAPTER=hardware` or `lavapipe` takes the machine's drivers.
 */
import { spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { unpackSwiftShader } from "../../src/hosts/swiftshader.node.ts";
import { bundle, type Launch } from "./launch.ts";
import { serve } from "./serve.ts";

/** Runs a program to its end. Fails when Deno ends with another exit code than 0, or is stopped. */
export async function inDeno({ entry, args, folders, onLine, timeLimitMs }: Launch): Promise<void> {
  const server = await serve(folders);
  const folder = await mkdtemp(join(tmpdir(), "superlens-deno-"));
  try {
    const program = join(folder, "program.mjs");
    await writeFile(program, await bundle(entry, ["node:*"]));
    const end = await runProcess([program, server.origin, ...args], onLine, timeLimitMs);
    if (end !== 0) throw new Error(`deno ended with ${end}`);
  } finally {
    await rm(folder, { recursive: true, force: true });
    await server.close();
  }
}

/** Gives the exit code, or the signal that ended Deno. */
function runProcess(
  args: string[],
  onLine: (line: string) => void,
  timeLimitMs: number,
): Promise<number | string | null> {
  const flags = ["run", "--allow-all", "--no-config", "--no-lock", "--no-remote", "--no-npm"];
  const child = spawn(denoProgram(), [...flags, ...args], {
    env: { ...process.env, ...vulkanEnvironment(), DENO_NO_UPDATE_CHECK: "1", NO_COLOR: "1" },
    stdio: ["ignore", "pipe", "pipe"],
    timeout: timeLimitMs,
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
