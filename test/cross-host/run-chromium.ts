/** Runs the suite in headless Chromium. */
import { inChromium } from "../../scripts/hosts/chromium.ts";
import { type HostReport, runAsProgram, runSuite, type SuiteRun } from "./runner.ts";

export const runChromium = (how: SuiteRun = {}): Promise<HostReport> =>
  runSuite("chromium", "entry-browser.ts", inChromium, how);

await runAsProgram(import.meta.url, runChromium);
