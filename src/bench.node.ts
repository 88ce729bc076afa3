/** `superlens/bench` for Node, which is registered as `superlens` does it. */
import "./node.ts";

export * from "./bench.ts";
