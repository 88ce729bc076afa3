/**
 * Runs a program in headless Chromium, which comes from npm with the libraries it needs and SwiftShader beside it.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Browser, chromium } from "playwright-core";
import {
  chromiumPackage,
  readBrotli,
  SWIFTSHADER_SWITCH,
  unpackOnce,
  unpackTar,
} from "../../src/hosts/swiftshader.node.ts";
import { bundle, type Launch } from "./launch.ts";
import { serve } from "./serve.ts";

const FLAGS = [
  "--no-sandbox", // Chromium refuses its sandbox to root, which containers are
  "--enable-unsafe-webgpu",
  "--use-webgpu-adapter=swiftshader",
  "--enable-features=Vulkan",
  `--${SWIFTSHADER_SWITCH}`,
];

/** Runs a program in a page to its end. Fails with the page's error, a crash, or the time limit. */
export async function inChromium({ entry, args, folders, onLine, timeLimitMs }: Launch): Promise<void> {
  const server = await serve(folders, { "/program.js": { type: "text/javascript", body: await bundle(entry) } });
  const browser = await launch();
  try {
    const settings = new URLSearchParams(args.map((value) => ["arg", value]));
    await runPage(browser, server.origin, `/program.js?${settings}`, onLine, timeLimitMs);
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
  timeLimitMs: number,
): Promise<void> {
  const page = await browser.newPage();
  page.on("console", (message) => onLine(message.text()));
  page.on("pageerror", (error) => onLine(`uncaught: ${error.message}`));
  await page.goto(origin);
  const crashed = new Promise<never>((_, reject) => {
    page.on("crash", () => reject(new Error("a crash")));
    browser.on("disconnected", () => reject(new Error("the loss of the browser")));
    setTimeout(() => reject(new Error(`the time limit of ${timeLimitMs} ms`)), timeLimitMs).unref();
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
