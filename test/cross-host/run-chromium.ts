/** Runs the suite in headless Chromium. */
import { inChromium } from "../../scripts/hosts/chromium.ts";
import { type HostReport, runAsProgram, runSuite } from "./runner.ts";

export const runChromium = (isPrinting = false): Promise<HostReport> =>
  runSuite("chromium", "entry-browser.ts", inChromium, isPrinting);

await runAsProgram(import.meta.url, runChromium);
