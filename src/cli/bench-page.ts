/** Serves the benchmark's page (`bench/index.html`) to a browser on this computer. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { commitName } from "./commit.ts";
import type { Handler, LocalServer } from "./local-server.ts";
import { packageRoot } from "./package.ts";
import { ISOLATED, openPort } from "./served-page.ts";

interface PageFile {
  type: string;
  body: string | Buffer;
}

/**
 * Serves the page on localhost, which browsers trust with WebGPU; port 0 takes a free one.
 * @throws SuperlensError `cli/port` when the port is taken.
 */
export async function servePage(port: number): Promise<LocalServer> {
  const files = await pageFiles();
  const sendFile: Handler = (path, _request, response) => {
    const file = files.get(path);
    if (file) response.writeHead(200, { "content-type": file.type, ...ISOLATED }).end(file.body);
    else response.writeHead(404).end();
  };
  return openPort(sendFile, port);
}

async function pageFiles(): Promise<Map<string, PageFile>> {
  const root = packageRoot();
  await buildPage(root);
  const html = readFileSync(join(root, "bench/index.html"));
  const script = readFileSync(join(root, "dist/bench/page.js"));
  return new Map<string, PageFile>([
    ["/", { type: "text/html; charset=utf-8", body: html }],
    ["/page.js", { type: "text/javascript; charset=utf-8", body: script }],
    ["/info.json", { type: "application/json", body: JSON.stringify({ commit: commitName() }) }],
  ]);
}

/** In a clone the page's program is bundled from its sources; a package brings it. */
async function buildPage(root: string): Promise<void> {
  if (!existsSync(join(root, "src/bench/page.ts"))) return;
  const build = (await import(pathToFileURL(join(root, "scripts/build.mjs")).href)) as { buildPage(): Promise<void> };
  await build.buildPage();
}
