/** Pictures in a page, in Chromium: under a strict content security policy, with real fonts, and as a page that stands alone. */
import { build } from "esbuild";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";
import { webOptions } from "../../scripts/build.mjs";
import { launch } from "../../scripts/hosts/chromium.ts";
import { type LocalServer, startLocalServer } from "../../src/cli/local-server.ts";
import { goldenPicture } from "./golden.ts";

/** No `unsafe-eval`, no inline script, and nothing of another origin. */
const POLICY = "default-src 'none'; script-src 'self'; style-src 'unsafe-inline'";

let server: LocalServer;
let browser: Browser;

beforeAll(async () => {
  const { outputFiles } = await build({ ...webOptions, entryPoints: ["test/pictures/golden.ts"], write: false });
  server = await startLocalServer((path, _request, response) => {
    if (path === "/golden.js") response.writeHead(200, { "content-type": "text/javascript" }).end(outputFiles[0]?.text);
    else
      response
        .writeHead(200, { "content-type": "text/html", "content-security-policy": POLICY })
        .end("<!doctype html>");
  });
  browser = await launch();
});
afterAll(async () => {
  await browser.close();
  await server.close();
});

/** A page with everything that it complains about. */
async function open(): Promise<{ page: Page; complaints: string[] }> {
  const page = await browser.newPage();
  const complaints: string[] = [];
  page.on("console", (message) => complaints.push(message.text()));
  page.on("pageerror", ({ message }) => complaints.push(message));
  return { page, complaints };
}

it("draws without eval, the same bytes, and every text lies within the picture", async () => {
  const { page, complaints } = await open();
  await page.goto(server.origin);
  await page.addScriptTag({ url: "/golden.js", type: "module" });
  const svg = await page.evaluate<string>(`import("/golden.js").then(async ({ goldenPicture }) => {
    const svg = await goldenPicture().svg();
    document.body.innerHTML = svg;
    return svg;
  })`);
  expect(svg).toBe(await goldenPicture().svg());
  const outside = await page.evaluate<string[]>(`{
    const frame = document.querySelector("svg").getBoundingClientRect();
    [...document.querySelectorAll("text")]
      .filter((text) => {
        const { left, right, top, bottom } = text.getBoundingClientRect();
        return left < frame.left || right > frame.right || top < frame.top || bottom > frame.bottom;
      })
      .map((text) => text.textContent);
  }`);
  expect(outside).toEqual([]);
  expect(complaints).toEqual([]);
  await page.close();
});

it("shows a cell's number as its tooltip, also where the number is written over it", async () => {
  const { page } = await open();
  await page.setContent(await goldenPicture().svg());
  const said = await page.evaluate<string[]>(`[...document.querySelectorAll("text")]
    .filter((text) => text.textContent === "0.31" || text.textContent.includes("NaN"))
    .map((text) => {
      const { left, right, top, bottom } = text.getBoundingClientRect();
      return document.elementFromPoint((left + right) / 2, (top + bottom) / 2).querySelector("title").textContent;
    })`);
  expect(said).toEqual(["L1, \\n: NaN", "L0, <|start|>: 0.308642", `L2, ${"i".repeat(30)}: 0.308642`]);
  await page.close();
});

it.each(["light", "dark"] as const)("stands alone as a page, readable in %s", async (colorScheme) => {
  const { page, complaints } = await open();
  await page.emulateMedia({ colorScheme });
  const requests: string[] = [];
  page.on("request", (request) => requests.push(request.url()));
  await page.setContent(await goldenPicture().html());
  await page.click("summary");
  expect(await page.locator("td").count()).toBe(3 * 7);
  const [ink, ground] = await page.evaluate<[number, number]>(`{
    const brightness = (colour) => colour.match(/[\\d.]+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0) / 765;
    const canvas = getComputedStyle(document.body).backgroundColor;
    [brightness(getComputedStyle(document.querySelector("svg text")).fill), brightness(canvas)];
  }`);
  expect(Math.abs(ink - ground)).toBeGreaterThan(0.7);
  expect(ink > ground).toBe(colorScheme === "dark");
  expect({ requests, complaints }).toEqual({ requests: [], complaints: [] });
  await page.close();
});
