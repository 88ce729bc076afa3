/** Node: Dawn as the GPU, and a file system. */
import { FolderSource } from "../checkpoint/folder.node.ts";
import { FolderStore } from "../checkpoint/store.node.ts";
import { FolderTuningStore } from "../kernels/tuning/store.node.ts";
import { dawnProvider } from "./dawn.node.ts";
import type { Host } from "./host.ts";
import { hubOptionsFrom } from "./hub-environment.node.ts";

export const NODE: Host = {
  adapters: dawnProvider,
  openFolder: (path) => new FolderSource(path),
  openStore: (path) => new FolderStore(path),
  hubDefaults: hubOptionsFrom,
  tuningStore: new FolderTuningStore(),
};
