/** Serves the benchmark's page (`bench/index.html`) to a browser on this computer. */
import { existsSync, readFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { SuperlensError } from "../errors.ts";
import { commitName } from "./commit.ts";
import { packageRoot } from "./package.ts";

export interface PageServer {
  address: string;
  close(): void;
}

/** A page that is isolated from other origins has a clock of 5 us in Chrome; any other one of 100 us. */
const ISOLATED = { "cross-origin-opener-policy": "same-origin", "cross-origin-embedder-policy": "require-corp" };

interface PageFile {
  type: string;
  body: string | Buffer;
}

/**
 * Serves the page on localhost, which browsers trust with WebGPU; port 0 takes a free one.
 * @throws SuperlensError `cli/port` when the port is taken.
 */
export async function servePage(port: number): Promise<PageServer> {
  const files = await pageFiles();
  const server = createServer((request, response) => {
    const file = files[new URL(request.url ?? "/", "http://localhost").pathname];
    if (file) response.writeHead(200, { "content-type": file.type, ...ISOLATED }).end(file.body);
    else response.writeHead(404).end();
  });
  await listen(server, port);
  const close = () => {
    server.close();
    server.closeAllConnections();
  };
  return { address: `http://localhost:${(server.address() as AddressInfo).port}/`, close };
}

async function pageFiles(): Promise<Record<string, PageFile>> {
  const root = packageRoot();
  await buildPage(root);
  return {
    "/": { type: "text/html; charset=utf-8", body: readFileSync(join(root, "bench/index.html")) },
    "/page.js": { type: "text/javascript; charset=utf-8", body: readFileSync(join(root, "dist/bench/page.js")) },
    "/info.json": { type: "application/json", body: JSON.stringify({ commit: commitName() }) },
  };
}

/** In a clone the page's program is bundled from its sources; a package brings it. */
async function buildPage(root: string): Promise<void> {
  if (!existsSync(join(root, "src/bench/page.ts"))) return;
  const build = (await import(pathToFileURL(join(root, "scripts/build.mjs")).href)) as { buildPage(): Promise<void> };
  await build.buildPage();
}

function listen(server: Server, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", (cause: NodeJS.ErrnoException) => {
      const reason = cause.code === "EADDRINUSE" ? "another program has it" : cause.message;
      const message = `Port ${port} cannot be served on: ${reason}. Choose another with --port, or --port 0 for a free one.`;
      reject(new SuperlensError("cli/port", message, { cause }));
    });
    server.listen(port, "localhost", resolve);
  });
}
