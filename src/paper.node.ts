/** The entry `superlens/paper` for Node: the paper's experiments, on what `node.ts` registers. */
import "./node.ts";

export * from "./paper/index.ts";
