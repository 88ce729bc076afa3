/** The hosts: each runs one job in a process of its own and gives back every line it prints. */
import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { extname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { webOptions } from "../../scripts/build.mjs";
import { launch as launchChromium } from "../../scripts/hosts/chromium.ts";
import { type LocalServer, startLocalServer } from "../../src/cli/local-server.ts";
import { type AdapterName, driverEnvironment } from "./drivers.ts";
import type { HostName, Job } from "./job.ts";

export interface Launch {
  job: Job;
  adapter: AdapterName;
  timeLimit: number;
  onLine: (line: string) => void;
}

/** Runs a job; fails when the host does not come to a good end. */
export const runOn: Record<HostName, (launch: Launch) => Promise<void>> = { deno, chrome, node };

const here = (name: string) => fileURLToPath(new URL(name, import.meta.url));

async function deno(launch: Launch): Promise<void> {
  const { runInstall } = createRequire(import.meta.url)("deno/install_api.cjs") as { runInstall(): string };
  const folder = await mkdtemp(join(tmpdir(), "superlens-peers-"));
  try {
    const program = join(folder, "job.mjs");
    await writeFile(program, await bundle("entry-deno.ts"));
    const flags = ["run", "--allow-all", "--no-config", "--no-lock", "--no-remote", "--no-npm"];
    await runProcess(runInstall(), [...flags, program, JSON.stringify(launch.job)], launch);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function node(launch: Launch): Promise<void> {
  const loader = new URL("../../scripts/wgsl-loader.mjs", import.meta.url).href;
  const args = ["--import", "tsx", "--import", loader, here("entry-node.ts"), JSON.stringify(launch.job)];
  await runProcess(process.execPath, args, launch);
}

async function runProcess(program: string, args: string[], { adapter, timeLimit, onLine }: Launch): Promise<void> {
  const child = spawn(program, args, {
    env: { ...process.env, ...driverEnvironment(adapter), DENO_NO_UPDATE_CHECK: "1", NO_COLOR: "1" },
    stdio: ["ignore", "pipe", "pipe"],
    timeout: timeLimit,
    killSignal: "SIGKILL",
  });
  for (const stream of [child.stdout, child.stderr]) createInterface({ input: stream }).on("line", onLine);
  const end = await new Promise<number | string | null>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code, signal) => resolve(code ?? signal));
  });
  if (end !== 0) throw new Error(`the process ended with ${end}`);
}

/** Chromium always runs on the SwiftShader that comes with it. */
async function chrome({ job, timeLimit, onLine }: Launch): Promise<void> {
  const server = await serve({ "/job.js": await bundle("entry-browser.ts") });
  const browser = await launchChromium();
  try {
    const page = await browser.newPage();
    page.on("console", (message) => onLine(message.text()));
    page.on("pageerror", (error) => onLine(`uncaught: ${error.message}`));
    await page.goto(server.origin);
    const stopped = new Promise<never>((_, reject) => {
      page.on("crash", () => reject(new Error("the page crashed")));
      setTimeout(() => reject(new Error(`no end within ${timeLimit} ms`)), timeLimit).unref();
    });
    const address = `/job.js?job=${encodeURIComponent(JSON.stringify(job))}`;
    await Promise.race([page.evaluate(`import(${JSON.stringify(address)}).then(() => undefined)`), stopped]);
  } finally {
    await browser.close();
    await server.close();
  }
}

/** One file of JavaScript with the entry and all it imports. */
async function bundle(entry: string): Promise<Uint8Array> {
  const { outputFiles } = await build({
    ...webOptions,
    entryPoints: [here(entry)],
    external: ["node:*", "/ort/*"],
    write: false,
    outdir: "/", // names the output, which is not written
  });
  return (outputFiles[0] as { contents: Uint8Array }).contents;
}

const TYPES: Record<string, string> = {
  ".mjs": "text/javascript",
  ".js": "text/javascript",
  ".wasm": "application/wasm",
};

/** A page that is isolated, so that WebAssembly may have threads; `/ort/…` is onnxruntime-web as installed. */
function serve(files: Record<string, Uint8Array>): Promise<LocalServer> {
  const ort = here("node_modules/onnxruntime-web/dist/");
  return startLocalServer(async (path, _request, response) => {
    const name = /^\/ort\/([\w.-]+)$/.exec(path)?.[1];
    const body = name ? await readFile(join(ort, name)).catch(() => undefined) : files[path];
    response.writeHead(body || path === "/" ? 200 : 404, {
      "content-type": body ? (TYPES[extname(path)] ?? "application/octet-stream") : "text/html",
      "cross-origin-opener-policy": "same-origin",
      "cross-origin-embedder-policy": "require-corp",
    });
    response.end(body ?? "<!doctype html><title>peers</title>");
  });
}
