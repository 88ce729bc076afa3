/** What the page imports for the command line's `--host chrome`; the module's address says which program. */
import { runProgram } from "./programs.ts";

const { searchParams } = new URL(import.meta.url);
const modelUrl = new URL("/model/", location.href).href;
await runProgram(searchParams.get("program") ?? "", searchParams.get("settings") ?? "{}", modelUrl);
