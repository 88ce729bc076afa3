/** What the checkpoint tests share: the fixture, temporary folders, hand-made headers and an HTTP server with moods. */
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach } from "vitest";
import { CheckpointError } from "../../src/errors.ts";

/** Written by Python's safetensors: a tensor of every dtype, all f8 codes, and rounding cases. */
export const FIXTURE = "every-dtype.safetensors";
export const FIXTURE_FOLDER = fileURLToPath(new URL("../fixtures/safetensors", import.meta.url));

/** Runs `use` in a new temporary folder and removes it. */
export async function inTempFolder<Result>(use: (folder: string) => Promise<Result>): Promise<Result> {
  const folder = await mkdtemp(join(tmpdir(), "superlens-test-"));
  try {
    return await use(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** A safetensors file from the text of its header, right or wrong. */
export function fileWithHeader(header: string, dataBytes = 0): Uint8Array {
  const json = new TextEncoder().encode(header);
  const file = new Uint8Array(8 + json.length + dataBytes);
  new DataView(file.buffer).setBigUint64(0, BigInt(json.length), true);
  file.set(json, 8);
  return file;
}

/** The CheckpointError that `run` throws; anything else fails the test. */
export async function checkpointError(run: () => unknown): Promise<CheckpointError> {
  try {
    await run();
  } catch (error) {
    if (error instanceof CheckpointError) return error;
    throw error;
  }
  throw new Error("no error was thrown");
}

/** Small numbers that look random and are the same every time (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** A local HTTP server. `handlers` are asked in turn; the first that returns true has answered. */
export interface TestServer {
  url: string;
  requests: { path: string; range: string | undefined }[];
  close(): Promise<void>;
}

export type Handler = (request: IncomingMessage, response: ServerResponse, path: string) => boolean;

export async function startServer(...handlers: Handler[]): Promise<TestServer> {
  const requests: TestServer["requests"] = [];
  const server = createServer((request, response) => {
    const path = decodeURIComponent(new URL(request.url ?? "/", "http://localhost").pathname);
    requests.push({ path, range: request.headers.range });
    if (handlers.some((handler) => handler(request, response, path))) return;
    response.writeHead(404, { "X-Error-Code": "EntryNotFound" }).end();
  });
  await new Promise<void>((ready) => server.listen(0, "127.0.0.1", ready));
  const close = () =>
    new Promise<void>((closed) => {
      server.close(() => closed());
      server.closeAllConnections();
    });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, requests, close };
}

/** Starts the one server of a test file's running test, which is closed after the test. */
export function servedByTest(): (...handlers: Handler[]) => Promise<TestServer> {
  let server: TestServer | undefined;
  afterEach(async () => {
    await server?.close();
    server = undefined;
  });
  return async (...handlers) => {
    server = await startServer(...handlers);
    return server;
  };
}

/** Answers GET with ranges, a strong ETag and the given files, as a good static server does. */
export function serveFiles(files: Record<string, Uint8Array>, etag = '"v1"'): Handler {
  return (request, response, path) => {
    const file = files[path];
    if (file === undefined) return false;
    const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "");
    if (range === null) {
      response.writeHead(200, { "Content-Length": file.length, ETag: etag }).end(file);
      return true;
    }
    const start = Number(range[1]);
    const end = Math.min(range[2] === "" ? file.length : Number(range[2]) + 1, file.length);
    if (start >= file.length) response.writeHead(416, { "Content-Range": `bytes */${file.length}` }).end();
    else {
      const headers = { "Content-Range": `bytes ${start}-${end - 1}/${file.length}`, "Content-Length": end - start };
      response.writeHead(206, { ...headers, ETag: etag }).end(file.subarray(start, end));
    }
    return true;
  };
}

/** Answers the first `count` requests for `path` by `answer`, then leaves them to the next handler. */
export function firstFew(count: number, path: string, answer: (response: ServerResponse) => void): Handler {
  let left = count;
  return (_request, response, asked) => {
    if (asked !== path || left === 0) return false;
    left--;
    answer(response);
    return true;
  };
}
