/** The entry `superlens/train` for Deno: training, on what `deno.ts` registers. */
import "./deno.ts";

export * from "./train/index.ts";
