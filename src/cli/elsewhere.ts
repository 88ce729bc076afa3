/**
 * The same work on another host. `scripts/hosts` launches Deno and Chromium, which takes development dependencies: a clone has
 * them, an installed package has not. Here the launcher is started with a program's name and settings, and its lines are read.
 */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";
import type { Command } from "commander";
import { SuperlensError } from "../errors.ts";
import type { AdapterChoice } from "../hosts/adapters.ts";
import { usageError } from "./options.ts";
import { packageRoot } from "./package.ts";
import { stop } from "./stop.ts";

/** Where commands can run. */
export const HOSTS = ["node", "deno", "chrome"] as const;

export type Host = (typeof HOSTS)[number];

export type OtherHost = Exclude<Host, "node">;

/** Chromium is started with the SwiftShader that it brings, so another adapter cannot be honoured: a usage error. */
export function checkAdapter(command: Command, host: Host, adapter: AdapterChoice | undefined): void {
  if (host !== "chrome" || adapter === undefined || adapter === "auto" || adapter === "swiftshader") return;
  usageError(command, `--host chrome runs on the SwiftShader that Chromium brings; leave out --adapter ${adapter}`);
}

const LAUNCHER = "scripts/hosts/run-program.ts";

/** What the launcher prints, one JSON value a line. */
type Line<Said> = { said: Said } | { failure: string; code?: string };

/** What the host must have installed beside the launcher. */
const NEEDS = { deno: ["tsx", "esbuild", "deno"], chrome: ["tsx", "esbuild", "playwright-core"] } as const;

export interface ElsewhereOptions {
  /** A program of `scripts/hosts/programs.ts`. */
  program: "verify" | "bench";
  settings: unknown;
  /** For Deno; Chromium has the one it comes with. */
  adapter?: AdapterChoice | undefined;
  /** A folder on disk that the host can load a model from. */
  modelFolder?: string | undefined;
}

/**
 * Runs a program in Deno or headless Chromium; gives what it says, line by line.
 * @throws SuperlensError `cli/host` when the launcher is not there, or the host ends with a failure; an error that the
 *   program threw on purpose keeps its code.
 */
export async function* runElsewhere<Said>(host: OtherHost, options: ElsewhereOptions): AsyncGenerator<Said> {
  checkInstalled(host);
  for await (const line of linesOf<Said>(host, options)) {
    if ("failure" in line) throw failed(host, options.program, line);
    yield line.said;
  }
}

function checkInstalled(host: OtherHost): void {
  const root = packageRoot();
  const missing = [LAUNCHER, ...NEEDS[host].map((name) => `node_modules/${name}`)].find(
    (path) => !existsSync(join(root, path)),
  );
  if (missing === undefined) return;
  throw new SuperlensError(
    "cli/host",
    `--host ${host} needs a clone of the repository with its development dependencies, and ${join(root, missing)} is not there. Clone it and run npm ci, or leave --host out.`,
  );
}

async function* linesOf<Said>(
  host: string,
  { program, settings, adapter, modelFolder }: ElsewhereOptions,
): AsyncGenerator<Line<Said>, void, undefined> {
  const root = packageRoot();
  const tsx = pathToFileURL(createRequire(join(root, "package.json")).resolve("tsx")).href;
  const loader = pathToFileURL(join(root, "scripts/wgsl-loader.mjs")).href;
  const launcher = ["--import", tsx, "--import", loader, join(root, LAUNCHER), host, program, JSON.stringify(settings)];
  const child = spawn(process.execPath, modelFolder === undefined ? launcher : [...launcher, modelFolder], {
    stdio: ["ignore", "pipe", "inherit"],
    signal: stop.signal,
    env: { ...process.env, ...(adapter && { SUPERLENS_ADAPTER: adapter }) },
  });
  const ended = new Promise<string | undefined>((resolve) => {
    child.on("error", (error) => resolve(error.message));
    child.on("close", (code) => resolve(code === 0 ? undefined : `it ended with code ${code}`));
  });
  for await (const line of createInterface({ input: child.stdout })) yield JSON.parse(line) as Line<Said>;
  const failure = await ended;
  if (failure !== undefined) yield { failure };
}

function failed(host: string, program: string, { failure, code }: { failure: string; code?: string }): SuperlensError {
  if (code !== undefined) return new SuperlensError(code, `${host}: ${failure}`);
  return new SuperlensError("cli/host", `\`superlens ${program}\` on ${host} stopped: ${failure}`);
}
