/** Trying again: how long, and what a server's own word about it is worth. */
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { pause } from "../../src/abort.ts";
import { UrlSource } from "../../src/checkpoint/index.ts";
import { HttpStatusError, withRetries } from "../../src/checkpoint/retry.ts";
import { checkpointError, startServer } from "./support.ts";

const answer = (status: number, headers: Record<string, string> = {}) =>
  new HttpStatusError(new Response(null, { status, headers }));

const ONE = new Uint8Array(1);

describe("withRetries", () => {
  beforeEach(() => {
    vi.useFakeTimers({ now: Date.parse("2026-01-01T00:00:00Z") });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  /** Milliseconds until the second try succeeds, and the pauses that were told. */
  async function secondTryAfter(error: Error): Promise<{ ms: number; told: number[] }> {
    const started = Date.now();
    const told: number[] = [];
    let tries = 0;
    const attempt = async () => {
      if (++tries === 1) throw error;
    };
    const done = withRetries(attempt, { delayMs: 250 }, { onWait: (_error, ms) => told.push(ms) });
    await vi.runAllTimersAsync();
    await done;
    return { ms: Date.now() - started, told };
  }

  it.each<[string, () => Error, number]>([
    ["a broken connection", () => new Error("reset"), 0],
    ["status 503", () => answer(503), 0],
    ["Retry-After in seconds", () => answer(429, { "Retry-After": "4" }), 4000],
    ["Retry-After as a date", () => answer(503, { "Retry-After": "Thu, 01 Jan 2026 00:00:09 GMT" }), 9000],
    ["Retry-After in the past", () => answer(503, { "Retry-After": "Thu, 01 Jan 2015 00:00:00 GMT" }), 0],
    ["Retry-After that is neither", () => answer(503, { "Retry-After": "soon" }), 0],
    ["RateLimit with nothing left", () => answer(429, { RateLimit: '"api";r=0;t=55', "Retry-After": "4" }), 55_000],
    ["RateLimit with something left", () => answer(429, { RateLimit: '"api";r=3;t=55', "Retry-After": "4" }), 4000],
    ["the longest pause that is kept", () => answer(429, { "Retry-After": "300" }), 300_000],
  ])("waits as asked, and a little, after %s", async (_what, failure, asked) => {
    const { ms, told } = await secondTryAfter(failure());
    expect(ms).toBe(asked + 250);
    expect(told).toEqual(asked === 0 ? [] : [asked]);
  });

  it("does not wait for a longer pause, nor after a verdict", async () => {
    for (const error of [answer(429, { "Retry-After": "301" }), answer(404), answer(403, { "Retry-After": "1" })]) {
      const attempt = vi.fn(() => Promise.reject(error));
      await expect(withRetries(attempt)).rejects.toBe(error);
      expect(attempt).toHaveBeenCalledTimes(1);
    }
  });
});

describe("a pause longer than a timer can be", () => {
  it("is not over at once", async () => {
    const over = pause(1e12, AbortSignal.timeout(30));
    await expect(over).rejects.toMatchObject({ name: "TimeoutError" });
  });
});

describe("a server", () => {
  it("that asks for too long a pause is named with it", async () => {
    const { url, close } = await startServer((_request, response) => {
      response.writeHead(429, { "Retry-After": "7200" }).end();
      return true;
    });
    const error = await checkpointError(() => new UrlSource(url).size("config.json"));
    expect(error.code).toBe("checkpoint/network");
    expect(error.message).toMatch(/answered 429\. It asks to wait for 7200 s: try again then\.$/);
    await close();
  });

  it.each<[string, () => Promise<Response>]>([
    ["before it answers", () => new Promise(() => {})],
    [
      "in the middle of an answer",
      async () => new Response(new ReadableStream({ start: (body) => body.enqueue(ONE) })),
    ],
  ])("that falls silent %s has failed, and is asked again", async (_when, answered) => {
    const fetch = vi.fn(answered);
    const source = new UrlSource("http://silent/", { fetch, retry: { attempts: 2, delayMs: 1, timeoutMs: 20 } });
    const error = await checkpointError(() => source.readAll("config.json"));
    expect(error.message).toMatch(/nothing came for 0.02 s\. Check the connection/);
    expect(fetch).toHaveBeenCalledTimes(2);
  });
});
