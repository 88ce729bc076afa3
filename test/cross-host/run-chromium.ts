/**
 * Runs the suite in headless Chromium, which comes from npm with the libraries it needs and SwiftShader beside it.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Browser, chromium } from "playwright-core";
import { chromiumPackage, readBrotli, unpackOnce, unpackTar } from "../../src/hosts/swiftshader.node.ts";
import {
  bundleSuite,
  collectLines,
  type Entry,
  type HostReport,
  runAsProgram,
  serve,
  TIME_LIMIT_MS,
} from "./runner.ts";

const FLAGS = [
  "--no-sandbox", // Chromium refuses its sandbox to root, which containers are
  "--enable-unsafe-webgpu",
  "--use-webgpu-adapter=swiftshader",
  "--enable-features=Vulkan",
];

export async function runChromium(isPrinting = false): Promise<HostReport> {
  const report: HostReport = { host: "chromium", results: [], log: [] };
  try {
    await inChromium("entry-browser.ts", {}, collectLines(report, isPrinting), TIME_LIMIT_MS);
  } catch (error) {
    report.log.push(`the page ended with ${error instanceof Error ? error.message : error}`);
  }
  return report;
}

/**
 * Runs a program in a page, with `settings` in its module's address; `onLine` gets all it prints. A `modelFolder` is served
 * beside it, as `/model/`. Fails with the page's error, a crash, or the time limit.
 */
export async function inChromium(
  entry: Entry,
  settings: Record<string, string>,
  onLine: (line: string) => void,
  timeLimit: number,
  modelFolder?: string,
): Promise<void> {
  const body = await bundleSuite(entry);
  const server = await serve({ "/suite.js": { type: "text/javascript", body } }, modelFolder);
  const browser = await launch();
  try {
    const address = `/suite.js?${new URLSearchParams(settings)}`;
    await runPage(browser, server.origin, address, onLine, timeLimit);
  } finally {
    await browser.close();
    await server.close();
  }
}

async function runPage(
  browser: Browser,
  origin: string,
  address: string,
  onLine: (line: string) => void,
  timeLimit: number,
): Promise<void> {
  const page = await browser.newPage();
  page.on("console", (message) => onLine(message.text()));
  page.on("pageerror", (error) => onLine(`uncaught: ${error.message}`));
  await page.goto(origin);
  const crashed = new Promise<never>((_, reject) => {
    page.on("crash", () => reject(new Error("a crash")));
    browser.on("disconnected", () => reject(new Error("the loss of the browser")));
    setTimeout(() => reject(new Error(`the time limit of ${timeLimit} ms`)), timeLimit).unref();
  });
  await Promise.race([page.evaluate(`import(${JSON.stringify(address)}).then(() => undefined)`), crashed]);
}

/** Starts a headless Chromium with WebGPU. The caller closes it. */
export async function launch(): Promise<Browser> {
  const folder = unpackChromium();
  return chromium.launch({
    executablePath: join(folder, "chromium"),
    args: FLAGS,
    env: { ...process.env, LD_LIBRARY_PATH: join(folder, "lib") } as Record<string, string>,
  });
}

/** The folder with Chromium, its libraries (`lib/`: NSS, expat) and SwiftShader. */
function unpackChromium(): string {
  const source = chromiumPackage();
  if (!source) throw new Error("@sparticuz/chromium is not installed or not made for this platform (Linux x64)");
  return unpackOnce(`chromium-${source.version}`, (folder) => {
    const read = (name: string) => readBrotli(join(source.bin, name));
    writeFileSync(join(folder, "chromium"), read("chromium.br"), { mode: 0o755 });
    unpackTar(read("swiftshader.tar.br"), folder);
    unpackTar(read("al2023.tar.br"), folder);
  });
}

await runAsProgram(import.meta.url, runChromium);
