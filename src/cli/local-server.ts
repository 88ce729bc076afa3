/**
 * A small HTTP server on localhost that answers every request. A request that it cannot read gets 400, a method that it does
 * not support 405, and a handler that fails 500. No request ends the process.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface LocalServer {
  /** `http://localhost:PORT` */
  origin: string;
  close(): Promise<void>;
}

/** Answers GET and HEAD of a path, which begins with a slash and is decoded. */
export type Handler = (path: string, request: IncomingMessage, response: ServerResponse) => void | Promise<void>;

/** Starts a server; port 0 takes a free one. Rejects with the system's error when the port cannot be had. */
export async function startLocalServer(handler: Handler, port = 0): Promise<LocalServer> {
  const server = createServer((request, response) => void answer(handler, request, response));
  await listen(server, port);
  const close = () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  return { origin: `http://localhost:${(server.address() as AddressInfo).port}`, close };
}

function listen(server: Server, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, "localhost", resolve);
  });
}

async function answer(handler: Handler, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const path = pathOf(request.url ?? "");
  try {
    if (request.method !== "GET" && request.method !== "HEAD") response.writeHead(405, { allow: "GET, HEAD" }).end();
    else if (path === undefined) response.writeHead(400).end();
    else await handler(path, request, response);
  } catch {
    if (response.headersSent) response.destroy();
    else response.writeHead(500).end();
  }
}

/** The decoded path of a request's target, with or without an origin before it; undefined when there is none to decode. */
function pathOf(target: string): string | undefined {
  const path = target.replace(/^https?:\/\/[^/?#]*\/?/i, "/").replace(/[?#].*$/s, "");
  try {
    return path.startsWith("/") ? decodeURIComponent(path) : undefined;
  } catch {
    return undefined;
  }
}
