/** The entry `superlens/pictures` for Node. Drawing needs no engine, so it registers none. */
export * from "./pictures/index.ts";
