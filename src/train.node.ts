/** The entry `superlens/train` for Node: training, on what `node.ts` registers. */
import "./node.ts";

export * from "./train/index.ts";
