/**
 * What the runners of other hosts share: bundling the suite, serving it with the fixtures on localhost (a secure context,
 * which WebGPU needs), and collecting the results a host prints.
 */
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import type { ServerResponse } from "node:http";
import { join, normalize, sep } from "node:path";
import { pipeline } from "node:stream/promises";
import { fileURLToPath, pathToFileURL } from "node:url";
import { build } from "esbuild";
import { webOptions } from "../../scripts/build.mjs";
import { startLocalServer } from "../../src/cli/local-server.ts";
import { type CheckResult, RESULT_MARK } from "./protocol.ts";

export interface HostReport {
  host: "deno" | "chromium";
  results: CheckResult[];
  /** Everything else the host printed, and why it stopped if it did not end by itself. */
  log: string[];
}

/** A host that does not come to an end is stopped and counts as failed. */
export const TIME_LIMIT_MS = 480_000;

/** Folders that are served, by the path they are served under. */
const SERVED: Record<string, string> = {
  "/fixtures/": fileURLToPath(new URL("../fixtures/", import.meta.url)),
  "/weights/": fileURLToPath(new URL("../../weights/", import.meta.url)),
};

/** What hosts run: the suite, or one of the programs of the command line. */
export type Entry = `${"entry" | "program"}-${"deno" | "browser"}.ts`;

/** One file of JavaScript with the entry and all it imports, without Node's modules. */
export async function bundleSuite(entry: Entry): Promise<Uint8Array> {
  const result = await build({
    ...webOptions,
    entryPoints: [fileURLToPath(new URL(entry, import.meta.url))],
    external: entry.endsWith("deno.ts") ? ["node:*"] : [],
    sourcemap: "inline",
    write: false,
    outdir: "/", // names the output, which is not written
  });
  const output = result.outputFiles[0];
  if (!output) throw new Error(`${entry}: esbuild wrote nothing`);
  return output.contents;
}

export interface TestServer {
  origin: string;
  fixtureUrl: string;
  close(): Promise<void>;
}

/**
 * Serves `/` (an empty page), `/fixtures/…` and `/weights/…` with ranges, `/model/…` likewise when a model's folder is given, and
 * `files` by path, on a free port of localhost.
 */
export async function serve(
  files: Record<string, { type: string; body: Uint8Array | string }> = {},
  modelFolder?: string,
): Promise<TestServer> {
  const pages: typeof files = { "/": { type: "text/html", body: "<!doctype html><title>superlens</title>" }, ...files };
  const folders = modelFolder === undefined ? SERVED : { ...SERVED, "/model/": modelFolder };
  const { origin, close } = await startLocalServer((path, request, response) => {
    const page = Object.hasOwn(pages, path) ? pages[path] : undefined;
    if (!page) return sendFile(response, servedPath(folders, path), request.headers.range);
    response.writeHead(200, { "content-type": page.type }).end(page.body);
    return undefined;
  });
  return { origin, fixtureUrl: `${origin}/fixtures/`, close };
}

/** Sorts the lines a host prints into results and the rest, and prints results as TAP. */
export function collectLines(report: HostReport, isPrinting: boolean): (line: string) => void {
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
export async function runAsProgram(
  moduleUrl: string,
  run: (isPrinting: boolean) => Promise<HostReport>,
): Promise<void> {
  if (!process.argv[1] || pathToFileURL(process.argv[1]).href !== moduleUrl) return;
  console.log("TAP version 13");
  const { results, log } = await run(true);
  console.log(`1..${results.length}`);
  for (const line of log) console.log(`# ${line}`);
  process.exitCode = results.length > 0 && results.every(({ ok }) => ok) ? 0 : 1;
}

/** Sends a file, or the range of it that was asked for; 404 when there is none. */
async function sendFile(response: ServerResponse, path: string | undefined, header: string | undefined): Promise<void> {
  const file = path === undefined ? undefined : await stat(path).catch(() => undefined);
  if (path === undefined || !file?.isFile()) {
    response.writeHead(404).end();
    return;
  }
  const { size } = file;
  const range = parseRange(header, size);
  if (range && range.start > range.end) {
    response.writeHead(416, { "content-range": `bytes */${size}` }).end();
    return;
  }
  const { start, end } = range ?? { start: 0, end: size - 1 };
  response.writeHead(range ? 206 : 200, {
    "content-type": "application/octet-stream",
    "accept-ranges": "bytes",
    "content-length": end - start + 1,
    ...(range && { "content-range": `bytes ${start}-${end}/${size}` }),
  });
  if (size === 0) response.end();
  else await pipeline(createReadStream(path, { start, end }), response);
}

/** The path of a file below one of the folders. */
function servedPath(folders: Record<string, string>, pathname: string): string | undefined {
  const prefix = Object.keys(folders).find((candidate) => pathname.startsWith(candidate));
  if (prefix === undefined) return undefined;
  const folder = folders[prefix] as string;
  const path = normalize(join(folder, pathname.slice(prefix.length)));
  return path.startsWith(folder.replace(/\/?$/, sep)) ? path : undefined;
}

function parseRange(header: string | undefined, size: number): { start: number; end: number } | undefined {
  const match = /^bytes=(\d+)-(\d*)$/.exec(header ?? "");
  if (!match) return undefined;
  return { start: Number(match[1]), end: Math.min(size - 1, match[2] ? Number(match[2]) : size - 1) };
}
