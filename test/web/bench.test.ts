/** The Bench view in headless Chromium: a person chooses a shape, presses Run, and gets plots, tables and JSON. */
import { readFileSync } from "node:fs";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { launch } from "../../scripts/hosts/chromium.ts";
import type { BenchDocument } from "../../src/bench/index.ts";
import { RandomSource } from "../../src/bench/random-source.ts";
import { SHAPES } from "../../src/bench/shapes.ts";
import type { LocalServer } from "../../src/cli/local-server.ts";
import { serveSite } from "../../src/cli/site.ts";
import { type Handler, serveFiles, startServer } from "../checkpoint/support.ts";
import { byDay } from "../support/nightly.ts";

const RUN_MS = 110_000;
const RUN = "button:text-is('Run')";
const FAILED = ".problem";

let server: LocalServer;
let browser: Browser;
/** One visitor on one page: what was compiled and what the tuner chose is there for the next test. */
let page: Page;
const errors: string[] = [];

beforeAll(async () => {
  server = await serveSite(0);
  browser = await launch();
  page = await browser.newPage();
  page.on("pageerror", ({ message }) => errors.push(message));
});

afterAll(async () => {
  await browser.close();
  await server.close();
});

/** Goes to the view with these settings. */
async function go(settings: Record<string, string>): Promise<void> {
  const parts = Object.entries(settings).map(([name, value]) => [`bench.${name}`, value] as [string, string]);
  await page.goto(`${server.origin}/#${new URLSearchParams([["view", "bench"], ...parts])}`);
  await page.waitForSelector(`${RUN}:enabled`);
}

/** Runs what the page is set to, and gives its JSON. */
async function measure(): Promise<BenchDocument> {
  await page.click(RUN);
  await page.waitForSelector(`#json, ${FAILED}`, { state: "attached", timeout: RUN_MS });
  expect(await page.locator(FAILED).allTextContents()).toEqual([]);
  return JSON.parse((await page.textContent("#json")) as string) as BenchDocument;
}

/** Runs what the page is set to, and stops it in the test of that name. */
async function stopRun(test: string): Promise<void> {
  await page.click(RUN);
  await page.waitForSelector(`.status:has-text("${test}")`, { timeout: RUN_MS });
  await page.click("button:text-is('Stop')");
  await page.waitForSelector(`${RUN}:enabled`);
  expect(await page.locator(`#json, ${FAILED}`).count()).toBe(0);
}

/** Lets pages from anywhere ask for what the other handlers answer, as model hubs do. */
const forAllPages: Handler = ({ method }, response) => {
  response.setHeader("access-control-allow-origin", "*");
  response.setHeader("access-control-allow-headers", "range");
  response.setHeader("access-control-expose-headers", "content-range");
  if (method === "OPTIONS") response.writeHead(204).end();
  return method === "OPTIONS";
};

describe("the Bench view", () => {
  it("stops when it is told to and shows nothing; then measures, and shows plots, tables and JSON", async () => {
    await go({ subject: "tiny", p: "16", n: "4", r: "1000000", ceilings: "0" });
    await stopRun("pp16");
    await page.fill("[name=r]", "2");
    const { reports } = await measure();
    expect(reports).toMatchObject([{ host: "chrome", backend: "Dawn", model: "tiny", isRandom: true }]);
    expect(reports[0]?.commit).toMatch(/^[\da-f]{7,}\+?$|^\d+\.\d+\.\d+/);
    expect(reports[0]?.tests.map(({ name, runs, check }) => [name, runs.length, check])).toEqual([
      ["pp16", 2, "ok"],
      ["tg4", 2, "ok"],
    ]);
    await page.waitForSelector("img.plot >> nth=1");
    expect(await page.textContent("table.cells")).toContain("pp16");
    // By the tuner, for the next visit.
    const kept = await page.evaluate<string[]>(
      "caches.open('superlens tuning').then(async (kept) => Promise.all((await kept.keys()).map(async (each) => (await kept.match(each)).text())))",
    );
    expect(kept.map((entry) => Object.values(JSON.parse(entry).choices).length > 0)).toEqual([true]);
    for (const [button, name, pattern] of [
      ["JSON", "superlens-bench.json", /^\{\n {2}"reports": \[/],
      ["Markdown", "superlens-bench.md", /^\*\*Results\*\*\n\n\| model \| host /],
    ] as const) {
      const [download] = await Promise.all([
        page.waitForEvent("download"),
        page.click(`.downloads button:text-is("${button}")`),
      ]);
      expect(download.suggestedFilename()).toBe(name);
      expect(readFileSync(await download.path(), "utf8")).toMatch(pattern);
    }
    await page.click("button:text-is('Clear')");
    expect(await page.locator("#json").count()).toBe(0);
    expect(errors).toEqual([]);
  });

  // By day files are read in test/web/page.test.ts.
  it.each(byDay(["address", "files"] as const, ["address"]))("measures a model of one's own: %s", async (subject) => {
    // Of a shape for which the tuner has chosen already.
    const tiny = await RandomSource.create(SHAPES.tiny);
    const fileOf = async (name: string) => ({ name, mimeType: "", buffer: Buffer.from(await tiny.readAll(name)) });
    const files = await Promise.all((await tiny.list()).map(fileOf));
    const served = Object.fromEntries(files.map(({ name, buffer }) => [`/${name}`, buffer]));
    const models = await startServer(forAllPages, serveFiles(served));
    try {
      await go({ subject, address: models.url, p: "8", n: "0", r: "1", ceilings: "0" });
      if (subject === "files") await page.setInputFiles("#bench-files", files);
      expect((await measure()).reports).toMatchObject([
        { ...(subject === "address" && { model: models.url }), isRandom: false, tests: [{ name: "pp8", check: "ok" }] },
      ]);
      await page.click("button:text-is('Clear')");
    } finally {
      await models.close();
    }
  });

  it("says what is missing or wrong", async () => {
    for (const [settings, problem] of [
      [{ subject: "address" }, "There is no address. Give hf:owner/name, or the URL of a model's folder."],
      [{ subject: "files" }, "No files are chosen. Choose config.json and model.safetensors."],
      [{ subject: "huge" }, 'There is no subject "huge". Subjects are gpt2, mini, tiny, llama-mini, address, files.'],
      [{ p: "sixteen" }, 'prompt lengths are "sixteen". Give whole numbers from 0, with commas between them.'],
      [{ n: "0x10" }, 'tokens to decode are "0x10". Give whole numbers from 0, with commas between them.'],
      [{ r: "2,3" }, 'runs are "2,3". Give one whole number from 1.'],
    ] as const) {
      await go(settings);
      await page.click(RUN);
      await expect.poll(() => page.textContent(FAILED)).toContain(problem);
    }
  });
});

describe("the page without WebGPU", () => {
  it("says so, and what a reader can do", async () => {
    const page = await browser.newPage();
    // The engine looks for WebGPU in its worker.
    await page.route("**/engine.js", async (route) => {
      const response = await route.fetch();
      const without = "Object.defineProperty(WorkerNavigator.prototype, 'gpu', { get: () => undefined });";
      await route.fulfill({ response, body: without + (await response.text()) });
    });
    await page.goto(server.origin);
    await page.waitForSelector(FAILED);
    const problem = await page.textContent(FAILED);
    expect(problem).toMatch(/no navigator\.gpu/);
    for (const name of ["Chrome", "Firefox", "Safari"]) expect(problem).toContain(name);
    expect(problem).not.toMatch(/\b(npm|Node|Deno|apt)\b/);
    await page.close();
  });

  it("says that a page over plain http gets none", async () => {
    const page = await browser.newPage();
    const insecure = "http://superlens.example";
    await page.route(`${insecure}/**`, async (route) => {
      const url = route.request().url().replace(insecure, server.origin);
      await route.fulfill({ response: await route.fetch({ url }) });
    });
    await page.goto(insecure);
    await page.waitForSelector(FAILED);
    expect(await page.textContent(FAILED)).toMatch(/not secure \(http:\/\/.*https or on localhost/s);
    await page.close();
  });
});
