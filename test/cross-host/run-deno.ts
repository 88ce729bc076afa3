/** Runs the suite in Deno. */
import { inDeno } from "../../scripts/hosts/deno.ts";
import { type HostReport, runAsProgram, runSuite } from "./runner.ts";

export const runDeno = (isPrinting = false): Promise<HostReport> =>
  runSuite("deno", "entry-deno.ts", inDeno, isPrinting);

await runAsProgram(import.meta.url, runDeno);
