/** One suite on three hosts. A host that cannot run fails all its checks; none is skipped. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { serve } from "../../scripts/hosts/serve.ts";
import type { LocalServer } from "../../src/cli/local-server.ts";
import "../../src/node.ts";
import { testGpu } from "../support/gpu.ts";
import { isNight } from "../support/nightly.ts";
import { type Check, type CheckContext, checksOf, createContext, runCheck } from "./harness.ts";
import { kernelTables } from "./kernels.ts";
import { runChromium } from "./run-chromium.ts";
import { runDeno } from "./run-deno.ts";
import { type HostReport, SUITE_FOLDERS } from "./runner.ts";
import { suite } from "./suite.ts";

/** On Node `test/kernels` compares the same kernels on the same shapes, and more. */
const isNotTestedHere = (check: Check) => !kernelTables.includes(check);

describe("node", () => {
  let server: LocalServer;
  let context: CheckContext;
  beforeAll(async () => {
    server = await serve(SUITE_FOLDERS);
    context = createContext("node", server.origin, isNight, testGpu);
  });
  afterAll(() => server.close());

  it.each(checksOf(suite, "node", isNight).filter(isNotTestedHere))("$name", async (check) => {
    const { ok, note } = await runCheck(check, context);
    expect(ok, note).toBe(true);
  });
});

describe.each([
  { host: "deno", name: "deno", run: runDeno },
  { host: "chromium", name: "browser", run: runChromium },
] as const)("$host", ({ host, name: hostName, run }) => {
  let report: HostReport;
  beforeAll(async () => {
    report = await run();
  });

  it.each(checksOf(suite, hostName, isNight))("$name", ({ name }) => {
    const result = report.results.find((candidate) => candidate.name === name);
    const note = result?.note ?? [`${host} gave no result.`, ...report.log].join("\n");
    expect(result?.ok, note).toBe(true);
  });
});
