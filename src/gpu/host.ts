/**
 * A device with its adapter, its limits, and what the host knows of its memory. `requestGpu` in `src/hosts` returns it. Code
 * that gets it need not know which host it runs on.
 */

/** What an adapter turned out to be; `software` is any software adapter that is neither of the known two (WARP). */
export type AdapterKind = "hardware" | "lavapipe" | "swiftshader" | "software";

/** Where the program runs. */
export type HostName = "node" | "deno" | "browser";

/** The adapter that runs, as far as the host tells. */
export interface AdapterInfo {
  host: HostName;
  kind: AdapterKind;
  /** True when the "GPU" is the CPU: results are right, speed is not. */
  isSoftware: boolean;
  /** What to show a person: the driver's own name for the adapter. */
  name: string;
  /** As `GPUAdapterInfo` has them; empty where the host hides them. */
  vendor: string;
  architecture: string;
  description: string;
  /** Invocations that a subgroup has at least; 0 where the adapter has no subgroups or does not say. */
  subgroupMinSize: number;
}

/** What a process may still take of the system before that ends it. */
export interface MemoryLeft {
  bytes: number;
  /** Buffers of a software adapter; each may need a memory mapping of its own. */
  buffers: number;
}

/** A device, and what there is to know about it. What `requestGpu` returns and `new Gpu` takes. */
export interface GpuHost {
  /** The caller ends it with `device.destroy()`. */
  device: GPUDevice;
  adapterInfo: AdapterInfo;
  /** The device's limits, which are the adapter's own for all that compute depends on. */
  limits: GPUSupportedLimits;
  /** The device's features: of `OPTIONAL_FEATURES` those that the adapter has. */
  features: ReadonlySet<string>;
  /** Of a software adapter, whose buffers are the process's own memory, where the host can say; a look takes milliseconds. */
  memoryLeft?: (() => MemoryLeft) | undefined;
}
