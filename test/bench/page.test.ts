/** The page in headless Chromium: a person chooses a shape, presses Run, and gets a plot, tables and JSON. */
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { BenchDocument } from "../../src/bench/index.ts";
import { type PageServer, servePage } from "../../src/cli/bench-page.ts";
import { launch } from "../cross-host/run-chromium.ts";

const RUN_MS = 110_000;

let server: PageServer;
let browser: Browser;

beforeAll(async () => {
  server = await servePage(0);
  browser = await launch();
});

afterAll(async () => {
  await browser.close();
  server.close();
});

/** A new page at the address, with every uncaught error of it. */
async function open(query = ""): Promise<{ page: Page; errors: string[] }> {
  const page = await browser.newPage();
  const errors: string[] = [];
  page.on("pageerror", ({ message }) => errors.push(message));
  await page.goto(server.address + query);
  return { page, errors };
}

describe("the page of bench --serve", () => {
  it("measures a shape and shows plot, tables and JSON", async () => {
    const { page, errors } = await open("?subject=tiny&p=16&n=4&r=2&ceilings=0");
    await page.waitForSelector("#run:enabled");
    expect(await page.textContent("#adapter")).toMatch(/WebGPU adapter: .*browser/);
    await page.click("#run");
    await page.waitForSelector("#results:visible, #problem:visible", { timeout: RUN_MS });
    expect(await page.textContent("#problem")).toBe("");
    const { reports } = JSON.parse((await page.textContent("#json")) as string) as BenchDocument;
    expect(reports).toMatchObject([{ host: "chrome", backend: "Dawn", model: "tiny", isRandom: true }]);
    expect(reports[0]?.commit).toMatch(/^[\da-f]{7,}\+?$|^\d+\.\d+\.\d+/);
    expect(reports[0]?.tests.map(({ name, runs, check }) => [name, runs.length, check])).toEqual([
      ["pp16", 2, "ok"],
      ["tg4", 2, "ok"],
    ]);
    expect(await page.locator("#plot rect").count()).toBe(2);
    expect(await page.textContent("#tables table")).toContain("pp16");
    const kept = await page.evaluate<string[]>("Object.values(localStorage)"); // by the tuner, for the next visit
    expect(kept.map((entry) => Object.values(JSON.parse(entry).choices).length > 0)).toEqual([true]);
    await page.click("#clear");
    expect(await page.isVisible("#results")).toBe(false);
    expect(errors).toEqual([]);
    await page.close();
  });

  it("says what is wrong with the settings", async () => {
    const { page } = await open("?subject=tiny&p=sixteen");
    await page.waitForSelector("#run:enabled");
    await page.click("#run");
    await page.waitForSelector("#problem:visible");
    expect(await page.textContent("#problem")).toBe(
      '-p is "sixteen". Give whole numbers from 0, with commas between them.',
    );
    await page.close();
  });

  it("says so where there is no WebGPU, and runs nothing", async () => {
    const page = await browser.newPage();
    await page.addInitScript("Object.defineProperty(Navigator.prototype, 'gpu', { get: () => undefined })");
    await page.goto(server.address);
    await page.waitForSelector("#problem:visible");
    expect(await page.textContent("#problem")).toMatch(/no navigator\.gpu/);
    expect(await page.isEnabled("#run")).toBe(false);
    await page.close();
  });
});
