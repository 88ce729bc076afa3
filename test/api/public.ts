/** Every export of `superlens`, `superlens/theory` and `superlens/bench`, on Node. */
export * from "../../src/bench/index.ts";
export * from "../../src/node.ts";
export * from "../../src/theory/index.ts";
