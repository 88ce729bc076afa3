/** The entry `superlens/bench` for Node: the benchmark, on what `node.ts` registers. */
import "./node.ts";

export * from "./bench/index.ts";
