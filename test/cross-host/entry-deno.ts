/** What Deno runs: the suite, with the server's origin and the runner's arguments (`protocol.ts`) as its own. */
import process from "node:process";
import "../../src/deno.ts";
import { runAndPrint } from "./harness.ts";
import { suite } from "./suite.ts";

const [origin, ...args] = process.argv.slice(2);
if (!origin) throw new Error("usage: entry-deno ORIGIN");
await runAndPrint(suite, "deno", origin, args);
