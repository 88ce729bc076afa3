/** Every export of all entries, on Node. Names of `superlens/paper` that `superlens/theory` has too are other things. */
export * from "../../src/bench/index.ts";
export * from "../../src/node.ts";
export * as paper from "../../src/paper/index.ts";
export * from "../../src/pictures/index.ts";
export * from "../../src/theory/index.ts";
export * from "../../src/train/index.ts";
