/** The entry `superlens/theory` for Node: the constructive transformer, on what `node.ts` registers. */
import "./node.ts";

export * from "./theory/index.ts";
