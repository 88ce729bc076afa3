/** Serves folders and files on localhost: files by range too, as model hubs do. */
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import type { ServerResponse } from "node:http";
import { join, normalize, sep } from "node:path";
import { pipeline } from "node:stream/promises";
import { type LocalServer, startLocalServer } from "../../src/cli/local-server.ts";

/** Serves `/` (an empty page), `folders` by the path they are served under, and `files` by path, on a free port. */
export function serve(
  folders: Readonly<Record<string, string>>,
  files: Record<string, { type: string; body: Uint8Array | string }> = {},
): Promise<LocalServer> {
  const pages: typeof files = { "/": { type: "text/html", body: "<!doctype html><title>superlens</title>" }, ...files };
  return startLocalServer((path, request, response) => {
    const page = Object.hasOwn(pages, path) ? pages[path] : undefined;
    if (!page) return sendFile(response, servedPath(folders, path), request.headers.range);
    response.writeHead(200, { "content-type": page.type }).end(page.body);
    return undefined;
  });
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
function servedPath(folders: Readonly<Record<string, string>>, pathname: string): string | undefined {
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
