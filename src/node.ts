/**
 * The entry for Node: the main entry, with Dawn as the GPU, folders as checkpoint sources, and downloads and the
 * tuner's choices kept on disk.
 */
import { registerHost } from "./hosts/host.ts";
import { NODE } from "./hosts/node.node.ts";

registerHost(NODE);

export * from "./index.ts";
