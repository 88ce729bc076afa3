/** The entry `superlens/pictures` for Deno. Drawing needs no engine, so it registers none. */
export * from "./pictures/index.ts";
