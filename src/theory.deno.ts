/** `superlens/theory` for Deno, which is registered as `superlens` does it. */
import "./deno.ts";

export * from "./theory.ts";
