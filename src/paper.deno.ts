/** The entry `superlens/paper` for Deno: the paper's experiments, on what `deno.ts` registers. */
import "./deno.ts";

export * from "./paper/index.ts";
