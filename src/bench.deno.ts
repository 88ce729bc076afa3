/** The entry `superlens/bench` for Deno: the benchmark, on what `deno.ts` registers. */
import "./deno.ts";

export * from "./bench/index.ts";
