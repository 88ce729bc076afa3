/** What Deno runs for the command line's `--host deno`; its arguments are the server's origin, the program and its settings. */
import process from "node:process";
import "../../src/deno.ts";
import { runProgram } from "./programs.ts";

const [, , origin = "", program = "", settings = "{}"] = process.argv;
await runProgram(program, settings, new URL("/model/", origin).href);
process.exit(0);
