/** What Deno runs: the suite, with the server's origin and perhaps `NIGHT` as its arguments. */
import process from "node:process";
import "../../src/deno.ts";
import { createContext, runAndPrint } from "./harness.ts";
import { NIGHT } from "./protocol.ts";
import { suite } from "./suite.ts";

const origin = process.argv[2];
if (!origin) throw new Error("usage: entry-deno ORIGIN");
await runAndPrint(suite, createContext("deno", origin, process.argv.includes(NIGHT)));
