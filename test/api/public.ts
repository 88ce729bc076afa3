/** Every export of `superlens` and of `superlens/theory`, on Node. */
export * from "../../src/node.ts";
export * from "../../src/theory/index.ts";
