/**
 * WebGPU for Node: Dawn from the npm package `webgpu`, over the best adapter there is. The order is hardware, then lavapipe
 * (a software Vulkan driver that a Linux system may have), then SwiftShader (from an npm package).
 *
 * On Linux Dawn uses Vulkan, and one process can open several Vulkan instances, each with drivers of our choice. So each
 * kind of adapter is a route: a set of driver manifests, and what must happen before. A route counts only if the adapter
 * that it finds is of its kind. On macOS and Windows Dawn finds Metal and Direct3D by itself.
 */
import { constants } from "node:os";
import type { AdapterKind } from "../gpu/host.ts";
import {
  type AdapterChoice,
  adapterLine,
  describeAdapter,
  type GpuProvider,
  type PowerPreference,
  parseAdapterChoice,
} from "./adapters.ts";
import { memoryLeftOfProcess } from "./memory.node.ts";
import { noAdapterError } from "./no-adapter.ts";
import { paceSoftwareAdapter } from "./pacing.node.ts";
import { SWIFTSHADER_SWITCH, unpackSwiftShader } from "./swiftshader.node.ts";
import { hasGpuDeviceFile, vulkanDrivers, withVulkanDrivers } from "./vulkan.node.ts";

type Dawn = typeof import("webgpu");

/** How to reach one kind of adapter, or why that is impossible here. */
type Route = { manifests: string[] | undefined; loader?: string } | { unavailable: string };

type SpecificChoice = Exclude<AdapterChoice, "auto">;

const ORDER: readonly SpecificChoice[] = ["hardware", "lavapipe", "swiftshader"];

const RTLD_NODELETE = 0x1000; // keep the loader when dlopen's caller gives up on it; not among Node's constants

/** Instances by choice. Kept for the life of the process: Dawn must not be collected before its devices. */
const instances = new Map<SpecificChoice, GPU>();
let turn: Promise<unknown> = Promise.resolve();
/** Lines already on stderr. */
const announced = new Set<string>();

/** The adapters of Node. `SUPERLENS_ADAPTER` is the default choice; the adapter is named once on stderr. */
export const dawnProvider: GpuProvider = {
  host: "node",
  defaultAdapter: () => parseAdapterChoice(process.env.SUPERLENS_ADAPTER || "auto", "SUPERLENS_ADAPTER"),
  requestAdapter(request) {
    // One at a time: the choice of a Vulkan driver goes through the process's environment.
    const result = turn.then(() => findAdapter(request.adapter, request.powerPreference ?? "high-performance"));
    turn = result.catch(() => undefined);
    return result;
  },
  onAdapter(info) {
    const line = adapterLine(info);
    if (!announced.has(line)) console.error(line);
    announced.add(line);
  },
  memoryLeft: process.platform === "linux" ? memoryLeftOfProcess : undefined,
};

async function findAdapter(choice: AdapterChoice, powerPreference: PowerPreference): Promise<GPUAdapter> {
  const dawn = await loadDawn(choice);
  const tried: string[] = [];
  for (const candidate of choice === "auto" ? ORDER : [choice]) {
    const found = await tryRoute(dawn, candidate, choice === "auto", powerPreference);
    if (typeof found !== "string") return found;
    tried.push(`${candidate}: ${found}`);
  }
  throw noAdapterError(choice, tried, "node");
}

async function loadDawn(choice: AdapterChoice): Promise<Dawn> {
  try {
    const dawn = await import("webgpu");
    for (const [name, value] of Object.entries(dawn.globals)) {
      if (!(name in globalThis)) Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
    }
    return dawn;
  } catch (cause) {
    const platform = `${process.platform}-${process.arch}`;
    const reason = `the npm package webgpu cannot be loaded on ${platform}: ${messageOf(cause)}`;
    throw noAdapterError(choice, [reason], "node", { cause });
  }
}

/** The adapter of that kind, or the reason why there is none. */
async function tryRoute(
  dawn: Dawn,
  choice: SpecificChoice,
  isAuto: boolean,
  powerPreference: PowerPreference,
): Promise<GPUAdapter | string> {
  const route = findRoute(choice, isAuto);
  if ("unavailable" in route) return route.unavailable;
  if (route.loader) loadVulkanLoader(route.loader);
  return withVulkanDrivers(route.manifests, async () => {
    const gpu = instances.get(choice) ?? dawn.create(choice === "swiftshader" ? [SWIFTSHADER_SWITCH] : []);
    instances.set(choice, gpu);
    const adapter = await gpu.requestAdapter({ powerPreference });
    if (!adapter) return "the installed drivers offer no adapter that Dawn accepts";
    const { kind, name, isSoftware } = describeAdapter(adapter, "node");
    if (!isAcceptable(kind, choice, isAuto)) return `the drivers offer ${name} (${kind}) instead`;
    if (isSoftware) paceSoftwareAdapter(dawn.globals as unknown as Parameters<typeof paceSoftwareAdapter>[0]);
    return adapter;
  });
}

/** Off Linux there is one route, `hardware`, and `auto` takes what comes of it: WARP on a Windows without a GPU. */
function isAcceptable(kind: AdapterKind, choice: SpecificChoice, isAuto: boolean): boolean {
  return kind === choice || (isAuto && process.platform !== "linux");
}

function findRoute(choice: SpecificChoice, isAuto: boolean): Route {
  if (process.platform !== "linux") {
    return choice === "hardware" ? { manifests: undefined } : { unavailable: `not on ${process.platform}` };
  }
  const manifests = vulkanDrivers().flatMap((driver) => (driver.kind === choice ? [driver.manifest] : []));
  if (choice === "swiftshader" && manifests.length === 0) return bundledSwiftShader();
  if (manifests.length === 0) return { unavailable: "no such Vulkan driver is installed" };
  // A driver without its device makes Dawn complain on stderr; only who insists on hardware gets to see that.
  if (choice === "hardware" && isAuto && !hasGpuDeviceFile()) return { unavailable: "no GPU device file in /dev" };
  return { manifests };
}

function bundledSwiftShader(): Route {
  try {
    const bundle = unpackSwiftShader();
    if (!bundle)
      return { unavailable: "the npm package @sparticuz/chromium (Linux x64), which carries it, is not installed" };
    return { manifests: [bundle.manifest], loader: bundle.loader };
  } catch (error) {
    return { unavailable: `cannot be unpacked: ${messageOf(error)}` };
  }
}

/**
 * Puts a Vulkan loader into the process, so that Dawn's own `dlopen("libvulkan.so.1")` finds it by its name. Node's
 * `dlopen` is meant for addons and complains that this is none; the library stays loaded all the same.
 */
function loadVulkanLoader(path: string): void {
  const { RTLD_NOW, RTLD_GLOBAL } = constants.dlopen;
  try {
    process.dlopen({ exports: {} }, path, RTLD_NOW | RTLD_GLOBAL | RTLD_NODELETE);
  } catch (error) {
    if (!/did not self-register/.test(messageOf(error))) throw error;
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
