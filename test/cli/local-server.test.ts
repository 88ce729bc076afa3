/** Servers on localhost, over raw sockets: every request is answered or closed, and the next one is served. */
import { connect } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { serve } from "../../scripts/hosts/serve.ts";
import type { LocalServer } from "../../src/cli/local-server.ts";
import { startLocalServer } from "../../src/cli/local-server.ts";
import { serveSite } from "../../src/cli/site.ts";
import { LLAMA } from "./support.ts";

/** Sends bytes as they are; gives all that came back until the server or, after `hangUp`, this side closed. */
function exchange(origin: string, bytes: string, hangUp = false): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(Number(new URL(origin).port), "localhost");
    let received = "";
    socket.setEncoding("latin1");
    socket.on("data", (text: string) => {
      received += text;
    });
    socket.on("error", () => undefined); // a reset by the server is an answer, too
    socket.on("close", () => resolve(received));
    socket.write(bytes, "latin1", () => hangUp && socket.destroy());
  });
}

const request = (line: string, headers = "") =>
  `${line} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n${headers}\r\n`;

/** A target, and the status it gets from a page's server and from one that serves folders. */
const TARGETS: [target: string, page: number, folders: number][] = [
  ["/", 200, 200],
  ["/?a=%", 200, 200],
  ["http://localhost/", 200, 200],
  ["http://localhost", 200, 200],
  ["HTTP://other.example:1/%2f", 404, 404],
  ["//", 404, 404],
  ["///etc/passwd", 404, 404],
  ["//localhost/", 404, 404],
  ["/%", 400, 400],
  ["/%E0%A4%A", 400, 400],
  ["/%00", 404, 404],
  ["/model/%00", 404, 404],
  ["/model/config.json%00.txt", 404, 404],
  ["/__proto__", 404, 404],
  ["/constructor", 404, 404],
  ["*", 400, 400],
  ["page.js", 400, 400],
  ["/..%2f..%2fpackage.json", 404, 404],
  ["/model/..%2f..%2f..%2f..%2fpackage.json", 404, 404],
  ["/model/../../../../package.json", 404, 404],
  ["/model/..%5c..%5cpackage.json", 404, 404],
  ["/model//etc/passwd", 404, 404],
  ["/model/.", 404, 404],
  ["/model/config.json/", 404, 404],
  [`/${"a".repeat(15_000)}`, 404, 404],
  [`/${"a".repeat(20_000)}`, 431, 431],
];

const status = (answer: string) => Number(/^HTTP\/1\.1 (\d+) /.exec(answer)?.[1]);

let page: LocalServer;
let folders: LocalServer;
beforeAll(async () => {
  page = await serveSite(0);
  folders = await serve({ "/model/": LLAMA });
});
afterAll(() => Promise.all([page.close(), folders.close()]));

async function expectServed(): Promise<void> {
  for (const { origin } of [page, folders]) expect((await fetch(`${origin}/`)).status).toBe(200);
}

describe("every request is answered", () => {
  it.each(TARGETS)("%.40s", async (target, ofPage, ofFolders) => {
    expect(status(await exchange(page.origin, request(`GET ${target}`)))).toBe(ofPage);
    expect(status(await exchange(folders.origin, request(`GET ${target}`)))).toBe(ofFolders);
    await expectServed();
  });

  it("of every method, and HEAD without a body", async () => {
    for (const method of ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"]) {
      expect(status(await exchange(page.origin, request(`${method} /`)))).toBe(405);
    }
    const head = await exchange(page.origin, request("HEAD /page.js"));
    expect(status(head)).toBe(200);
    expect(head).toMatch(/\r\n\r\n$/);
    await expectServed();
  });

  it.each([
    ["no HTTP at all", "hello\r\n\r\n"],
    ["an upgrade", request("GET /", "upgrade: websocket\r\nconnection: upgrade\r\n")],
    ["a tunnel", "CONNECT example.com:443 HTTP/1.1\r\n\r\n"],
    ["no host", "GET / HTTP/1.1\r\nconnection: close\r\n\r\n"],
    ["a huge header", request("GET /", `x: ${"a".repeat(1 << 20)}\r\n`)],
    ["a header that is none", request("GET /", "no colon\r\n")],
    ["two lengths", request("POST /", "content-length: 1\r\ncontent-length: 2\r\n")],
    ["a body cut short", request("POST /", "content-length: 10\r\n").concat("abc")],
  ])("%s", async (_, bytes) => {
    const answer = await exchange(page.origin, bytes);
    expect(answer === "" || status(answer) >= 200, answer.slice(0, 80)).toBe(true);
    await expectServed();
  });

  it("also where nobody waits for the answer", async () => {
    for (let i = 0; i < 10; i++) {
      await exchange(folders.origin, request("GET /model/model.safetensors"), true);
      await exchange(page.origin, "GET / HT", true);
    }
    await expectServed();
  });

  it.each([
    ["bytes=0-3", 206, 4],
    ["bytes=999999999-", 416, 0],
    ["bytes=5-2", 416, 0],
  ])("and ranges: %s", async (range, expected, length) => {
    const response = await fetch(`${folders.origin}/model/model.safetensors`, { headers: { range } });
    expect([response.status, (await response.arrayBuffer()).byteLength]).toEqual([expected, length]);
  });

  it("with 500 when the handler fails", async () => {
    const failing = await startLocalServer(() => Promise.reject(new Error("no")));
    expect(status(await exchange(failing.origin, request("GET /")))).toBe(500);
    await failing.close();
  });
});
