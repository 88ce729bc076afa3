/** Runs the suite in Deno. */
import { inDeno } from "../../scripts/hosts/deno.ts";
import { type HostReport, runAsProgram, runSuite, type SuiteRun } from "./runner.ts";

export const runDeno = (how: SuiteRun = {}): Promise<HostReport> => runSuite("deno", "entry-deno.ts", inDeno, how);

await runAsProgram(import.meta.url, runDeno);
