/** The page in headless Chromium: a person chooses a shape, presses Run, and gets a plot, tables and JSON. */
import { readFileSync } from "node:fs";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { launch } from "../../scripts/hosts/chromium.ts";
import type { BenchDocument } from "../../src/bench/index.ts";
import { servePage } from "../../src/cli/bench-page.ts";
import type { LocalServer } from "../../src/cli/local-server.ts";
import { type Handler, serveFiles, startServer } from "../checkpoint/support.ts";
import { LLAMA } from "../cli/support.ts";

const RUN_MS = 110_000;

let server: LocalServer;
let browser: Browser;
/** One visitor: what the tuner chose is kept between pages, and need not be timed again. */
let visitor: BrowserContext;

beforeAll(async () => {
  server = await servePage(0);
  browser = await launch();
  visitor = await browser.newContext();
});

afterAll(async () => {
  await browser.close();
  await server.close();
});

/** A new page at the address, with every uncaught error of it. */
async function open(query = ""): Promise<{ page: Page; errors: string[] }> {
  const page = await visitor.newPage();
  const errors: string[] = [];
  page.on("pageerror", ({ message }) => errors.push(message));
  await page.goto(`${server.origin}/${query}`);
  return { page, errors };
}

/** Runs what the page is set to, and gives its JSON. */
async function measure(page: Page): Promise<BenchDocument> {
  await page.click("#run");
  await page.waitForSelector("#results:visible, #problem:visible", { timeout: RUN_MS });
  expect(await page.textContent("#problem")).toBe("");
  return JSON.parse((await page.textContent("#json")) as string) as BenchDocument;
}

/** Runs what the page is set to, and stops it in the test of that name. */
async function stopRun(page: Page, test: string): Promise<void> {
  await page.click("#run");
  await page.waitForSelector("#stop:visible");
  await page.waitForFunction(`document.getElementById("progress").textContent.startsWith("${test}")`, undefined, {
    timeout: RUN_MS,
  });
  await page.click("#stop");
  await page.waitForSelector("#run:enabled");
  expect(await page.textContent("#progress")).toBe("Stopped.");
  expect(await page.isVisible("#results")).toBe(false);
  expect(await page.isVisible("#problem")).toBe(false);
}

/** Lets pages from anywhere ask for what the other handlers answer, as model hubs do. */
const forAllPages: Handler = ({ method }, response) => {
  response.setHeader("access-control-allow-origin", "*");
  response.setHeader("access-control-allow-headers", "range");
  response.setHeader("access-control-expose-headers", "content-range");
  if (method === "OPTIONS") response.writeHead(204).end();
  return method === "OPTIONS";
};

describe("the page of bench --serve", () => {
  it("stops when it is told to and shows nothing; then measures, and shows plot, tables and JSON", async () => {
    const { page, errors } = await open("?subject=tiny&p=16&n=4&r=1000000&ceilings=0");
    await page.waitForSelector("#run:enabled");
    expect(await page.textContent("#adapter")).toMatch(/WebGPU adapter: .*browser/);
    await stopRun(page, "pp16");
    await page.fill("[name=r]", "2");
    const { reports } = await measure(page);
    expect(reports).toMatchObject([{ host: "chrome", backend: "Dawn", model: "tiny", isRandom: true }]);
    expect(reports[0]?.commit).toMatch(/^[\da-f]{7,}\+?$|^\d+\.\d+\.\d+/);
    expect(reports[0]?.tests.map(({ name, runs, check }) => [name, runs.length, check])).toEqual([
      ["pp16", 2, "ok"],
      ["tg4", 2, "ok"],
    ]);
    await page.locator("#plot svg").nth(1).waitFor();
    expect(await page.locator("#plot svg").count()).toBe(2);
    expect(await page.textContent("#tables table")).toContain("pp16");
    const kept = await page.evaluate<string[]>("Object.values(localStorage)"); // by the tuner, for the next visit
    expect(kept.map((entry) => Object.values(JSON.parse(entry).choices).length > 0)).toEqual([true]);
    await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
    for (const [button, what, pattern] of [
      ["#copy-json", "JSON", /^\{\n {2}"reports": \[/],
      ["#copy-markdown", "Markdown", /^\*\*Results\*\*\n\n\| model \| host /],
    ] as const) {
      await page.click(button);
      await page.waitForFunction(`document.getElementById("copied").textContent === "${what} copied."`);
      expect(await page.evaluate("navigator.clipboard.readText()")).toMatch(pattern);
    }
    await page.click("#clear");
    expect(await page.isVisible("#results")).toBe(false);
    expect(errors).toEqual([]);
    await page.close();
  });

  it("measures a model at an address, and one in files", async () => {
    const names = ["/config.json", "/model.safetensors"];
    const files = Object.fromEntries(names.map((name) => [name, readFileSync(LLAMA + name)]));
    const models = await startServer(forAllPages, serveFiles(files));
    try {
      const subject = encodeURIComponent("A model by its address");
      const { page } = await open(`?subject=${subject}&address=${models.url}&p=8&n=0&r=1&ceilings=0`);
      await page.waitForSelector("#run:enabled");
      expect((await measure(page)).reports).toMatchObject([
        { model: models.url, isRandom: false, tests: [{ name: "pp8", check: "ok" }] },
      ]);
      await page.click("#clear");
      await page.selectOption("#subject", "A model in files");
      await page.setInputFiles(
        "#files",
        names.map((name) => LLAMA + name),
      );
      expect((await measure(page)).reports).toMatchObject([{ isRandom: false, tests: [{ name: "pp8", check: "ok" }] }]);
      await page.close();
    } finally {
      await models.close();
    }
  });

  it.each([
    ["A model by its address", "There is no address. Give hf:owner/name, or the URL of a model's folder."],
    ["A model in files", "No files are chosen. Choose config.json and model.safetensors."],
  ])("asks for what is missing: %s", async (subject, problem) => {
    const { page } = await open(`?subject=${encodeURIComponent(subject)}`);
    await page.waitForSelector("#run:enabled");
    await page.click("#run");
    await page.waitForSelector("#problem:visible");
    expect(await page.textContent("#problem")).toBe(problem);
    await page.close();
  });

  it.each([
    ["p=sixteen", '-p is "sixteen". Give whole numbers from 0, with commas between them.'],
    ["n=0x10", '-n is "0x10". Give whole numbers from 0, with commas between them.'],
    ["r=2,3", '-r is "2,3". Give one whole number from 1.'],
  ])("says what is wrong with the settings: %s", async (setting, problem) => {
    const { page } = await open(`?subject=tiny&${setting}`);
    await page.waitForSelector("#run:enabled");
    await page.click("#run");
    await page.waitForSelector("#problem:visible");
    expect(await page.textContent("#problem")).toBe(problem);
    await page.close();
  });

  it.each([
    ["subject=huge", /subject=huge.*Subjects are .*tiny/],
    ["depth=3", /depth=3.*Settings are subject, address, p/],
  ])("says that its address has no such setting: %s", async (setting, problem) => {
    const { page } = await open(`?${setting}`);
    await page.waitForSelector("#problem:visible");
    expect(await page.textContent("#problem")).toMatch(problem);
    await page.close();
  });

  it("says so where there is no WebGPU, and runs nothing", async () => {
    const page = await browser.newPage();
    await page.addInitScript("Object.defineProperty(Navigator.prototype, 'gpu', { get: () => undefined })");
    await page.goto(server.origin);
    await page.waitForSelector("#problem:visible");
    const problem = await page.textContent("#problem");
    expect(problem).toMatch(/no navigator\.gpu/);
    // What a page's reader can do, and nothing that only a programmer can.
    for (const name of ["Chrome", "Firefox", "Safari", "https"]) expect(problem).toContain(name);
    expect(problem).not.toMatch(/\b(npm|Node|Deno|apt)\b/);
    expect(await page.isEnabled("#run")).toBe(false);
    await page.close();
  });

  it("says that a page over plain http gets no WebGPU", async () => {
    const page = await browser.newPage();
    const insecure = "http://superlens.example";
    await page.route(`${insecure}/**`, async (route) => {
      const url = route.request().url().replace(insecure, server.origin);
      await route.fulfill({ response: await route.fetch({ url }) });
    });
    await page.goto(insecure);
    await page.waitForSelector("#problem:visible");
    expect(await page.textContent("#problem")).toMatch(/this page is not secure \(http:\/\/.*https or on localhost/s);
    await page.close();
  });
});
