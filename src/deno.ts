/**
 * The entry for Deno: the main entry, with folders as checkpoint sources, and downloads and the tuner's choices kept on
 * disk. WebGPU is Deno's own `navigator.gpu`; it needs no flag, and no permission either.
 */
import { registerNodeSources } from "./checkpoint/register.node.ts";
import { registerFolderTuningStore } from "./kernels/tuning/store.node.ts";

registerNodeSources();
registerFolderTuningStore();

export * from "./index.ts";
