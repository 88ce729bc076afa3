/**
 * What hosts can do, a column each. The entries (`src/node.ts`, `src/deno.ts`) register theirs. What a page can do is the
 * default, so a page registers nothing, and no code for other hosts gets into it.
 *
 * |                    | a page             | Deno (`deno.node.ts`)   | Node (`node.node.ts`)               |
 * |--------------------|--------------------|-------------------------|-------------------------------------|
 * | finds adapters     | `navigator.gpu`    | `navigator.gpu`         | Dawn over a driver (`dawn.node.ts`) |
 * | default adapter    | `auto`             | `auto`                  | `SUPERLENS_ADAPTER`, or `auto`      |
 * | names the adapter  | no                 | no                      | once, on stderr                     |
 * | waits for software | by itself          | by itself               | paced (`pacing.node.ts`)            |
 * | knows memory left  | no                 | no                      | on Linux (`memory.node.ts`)         |
 * | native noise       | none               | none                    | two lines (`noise.node.ts`)         |
 * | opens folders      | no                 | yes                     | yes                                 |
 * | writes folders     | no                 | yes                     | yes                                 |
 * | keeps downloads in | its storage (OPFS) | the cache folder        | the cache folder                    |
 * | Hub, token         | what options say   | `hub-environment.node.ts` | `hub-environment.node.ts`         |
 * | keeps tuning in    | `localStorage`; in a worker the Cache API | the cache folder, if it may | the cache folder                |
 */
import {
  type CheckpointSource,
  type FileStore,
  type HubSourceOptions,
  registerFileStore,
  registerFolderSource,
  registerHubDefaults,
} from "../checkpoint/index.ts";
import { registerTuningStore, type TuningStore } from "../kernels/tuning/store.ts";
import type { GpuProvider } from "./adapters.ts";
import { registerGpuProvider } from "./request.ts";

/** What a host can do beyond a page. */
export interface Host {
  /** Finds adapters, names them, and says what the process has left. */
  readonly adapters: GpuProvider;
  /** Opens a folder as a source of checkpoints. */
  readonly openFolder: (path: string) => CheckpointSource;
  /** Writes to a folder. */
  readonly openStore: (path: string) => FileStore;
  /** Cache, address and token of the Hub. */
  readonly hubDefaults: () => Promise<HubSourceOptions>;
  /** Keeps the tuner's choices; undefined where nothing may be kept. */
  readonly tuningStore: TuningStore | undefined;
}

/** From here on the engine runs on this host. Each entry calls it once, when it is loaded. */
export function registerHost({ adapters, openFolder, openStore, hubDefaults, tuningStore }: Host): void {
  registerGpuProvider(adapters);
  registerFolderSource(openFolder);
  registerFileStore(openStore);
  registerHubDefaults(hubDefaults);
  registerTuningStore(tuningStore);
}
