/**
 * Takes a picture of each view of the page, in docs/page: `npm run page:pictures`. What they show is what a visitor sees who chooses the
 * first model and presses the buttons named here.
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { serveSite } from "../src/cli/site.ts";
import { EMBEDDED } from "../src/web/models.ts";
import { launch } from "./hosts/chromium.ts";

const FOLDER = fileURLToPath(new URL("../docs/page/", import.meta.url));
const WAIT = 120_000;
const [first] = EMBEDDED as [(typeof EMBEDDED)[number]];
const PROMPTS = { model: first.address, text: first.text, corrupted: first.corrupted };

/** What each picture needs: its part of the address, buttons to press, and what shows that it is there. */
const PICTURES: Record<string, { parts: Record<string, string>; press?: readonly string[]; until: string }> = {
  model: { parts: { ...PROMPTS, view: "model" }, until: ".block" },
  prompt: { parts: { ...PROMPTS, view: "prompt" }, press: ["text=Generate"], until: ".bars tbody tr" },
  lens: { parts: { ...PROMPTS, view: "lens" }, press: [".grid .cell:last-child"], until: ".grid .cell" },
  attention: {
    parts: { ...PROMPTS, view: "attention", "attention.head": "3", "attention.sort": "previous" },
    until: ".heads canvas",
  },
  patch: { parts: { ...PROMPTS, view: "patch" }, press: ["text=Sweep"], until: ".grid .cell" },
  attribution: { parts: { ...PROMPTS, view: "attribution" }, press: ["text=Compare"], until: "figure + figure" },
  superposition: {
    parts: { view: "superposition", model: "models/superposition", "superposition.counts": "6,3,2,1" },
    until: ".card meter",
  },
  train: { parts: { view: "train" }, press: ["button.main"], until: "text=Right on held-out" },
};

mkdirSync(FOLDER, { recursive: true });
const server = await serveSite(0);
const browser = await launch();
const page = await browser.newPage({ viewport: { width: 1100, height: 700 } });
page.setDefaultTimeout(WAIT * (process.argv.includes("train") ? 10 : 1));
const wanted = process.argv.slice(2).filter((name) => name in PICTURES);
for (const name of wanted.length > 0 ? wanted : Object.keys(PICTURES)) {
  const { parts, press = [], until } = PICTURES[name] as (typeof PICTURES)[string];
  await page.goto(`${server.origin}/#${new URLSearchParams(parts)}`);
  await page.waitForSelector(press.length > 0 ? `${press[0]} >> nth=-1` : until);
  for (const button of press) await page.locator(button).last().click();
  await page.waitForSelector(until);
  while ((await page.locator("progress").count()) > 0) await page.waitForTimeout(100);
  await page.screenshot({ path: join(FOLDER, `${name}.png`), fullPage: true });
  console.log(join(FOLDER, `${name}.png`));
}
await browser.close();
await server.close();
