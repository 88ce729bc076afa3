/** The entry `superlens/theory` for Deno: the constructive transformer, on what `deno.ts` registers. */
import "./deno.ts";

export * from "./theory/index.ts";
