/**
 * The entry for Node: the main entry, with Dawn as the GPU, folders as checkpoint sources, and downloads and the
 * tuner's choices kept on disk.
 */
import { registerNodeSources } from "./checkpoint/register.node.ts";
import { nodeGpuProvider } from "./gpu/adapter.node.ts";
import { registerGpuProvider } from "./gpu/host.ts";
import { registerFolderTuningStore } from "./kernels/tuning/store.node.ts";

registerGpuProvider(nodeGpuProvider);
registerNodeSources();
registerFolderTuningStore();

export * from "./index.ts";
