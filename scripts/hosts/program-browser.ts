/** What the page imports for the command line's `--host chrome`; the module's address says which program. */
import { runProgram } from "./programs.ts";

const [program = "", settings = "{}"] = new URL(import.meta.url).searchParams.getAll("arg");
await runProgram(program, settings, new URL("/model/", location.href).href);
