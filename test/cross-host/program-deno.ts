/** What Deno runs for the command line's `--host deno`; its arguments are the fixtures' URL, the program and its settings. */
import process from "node:process";
import "../../src/deno.ts";
import { runProgram } from "./programs.ts";

const [, , fixtureUrl = "", program = "", settings = "{}"] = process.argv;
await runProgram(program, settings, new URL("/model/", fixtureUrl).href);
process.exit(0);
