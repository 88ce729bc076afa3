/** Deno: its own `navigator.gpu`, which needs no flag and no permission, and a file system, for which it asks. */
import { FolderSource } from "../checkpoint/folder.node.ts";
import { FolderStore } from "../checkpoint/store.node.ts";
import { FolderTuningStore } from "../kernels/tuning/store.node.ts";
import type { Host } from "./host.ts";
import { hubOptionsFrom } from "./hub-environment.node.ts";
import { navigatorProvider } from "./navigator.ts";

/** What Deno says about permissions, as far as it matters here. */
interface DenoPermissions {
  permissions: { querySync(wanted: { name: string }): { state: string } };
}

/** Deno asks the person before it lets a program at the disk: keeping the tuner's choices is no reason to ask. */
function mayUseDisk(): boolean {
  const { Deno } = globalThis as unknown as { Deno: DenoPermissions };
  return ["env", "read", "write"].every((name) => Deno.permissions.querySync({ name }).state === "granted");
}

export const DENO: Host = {
  adapters: navigatorProvider,
  openFolder: (path) => new FolderSource(path),
  openStore: (path) => new FolderStore(path),
  hubDefaults: hubOptionsFrom,
  tuningStore: mayUseDisk() ? new FolderTuningStore() : undefined,
};
