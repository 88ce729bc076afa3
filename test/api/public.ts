/** Every export of all entries, on Node. */
export * from "../../src/bench/index.ts";
export * from "../../src/node.ts";
export * from "../../src/theory/index.ts";
export * from "../../src/train/index.ts";
