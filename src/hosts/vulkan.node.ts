/**
 * Which Vulkan drivers a Linux machine has, and how to make Dawn see only some of them.
 *
 * The Vulkan loader finds drivers through small JSON manifests in well-known folders, or through the environment
 * variable `VK_ICD_FILENAMES` when it is set; it reads both anew for every instance. Setting the variable around the
 * creation of an instance therefore chooses the driver.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { delimiter, join } from "node:path";

export interface VulkanDriver {
  manifest: string;
  kind: "hardware" | "lavapipe" | "swiftshader";
}

/** The drivers the loader would find, each judged by the names of its manifest and library. */
export function vulkanDrivers(environment: Record<string, string | undefined> = process.env): VulkanDriver[] {
  const override = environment.VK_DRIVER_FILES ?? environment.VK_ICD_FILENAMES;
  const manifests = override === undefined ? driverFolders(environment).flatMap(jsonFiles) : override.split(delimiter);
  return manifests.flatMap((manifest) => {
    const text = readText(manifest);
    return text === undefined ? [] : [{ manifest, kind: driverKind(`${manifest} ${text}`) }];
  });
}

/**
 * True when a device file exists through which a Linux driver could talk to a GPU: Direct Rendering (Intel, AMD,
 * Apple, most ARM), NVIDIA's own, WSL's, Qualcomm's, Mali's, PowerVR's. Drivers are often installed without any GPU.
 */
export function hasGpuDeviceFile(): boolean {
  return listFolder("/dev/dri").length > 0 || listFolder("/dev").some((name) => GPU_DEVICE.test(name));
}

/**
 * Runs `work` while the loader sees only `manifests` (undefined: what the machine is set up for), and restores the
 * environment after it. Node passes changes of `process.env` on to native code on the main thread only.
 */
export async function withVulkanDrivers<T>(
  manifests: readonly string[] | undefined,
  work: () => Promise<T>,
): Promise<T> {
  if (manifests === undefined) return work();
  const changes: Record<string, string | undefined> = {
    VK_ICD_FILENAMES: manifests.join(delimiter),
    VK_DRIVER_FILES: undefined, // would win over VK_ICD_FILENAMES
    XDG_RUNTIME_DIR: process.env.XDG_RUNTIME_DIR ?? tmpdir(), // lavapipe wants one
  };
  const before = Object.fromEntries(Object.keys(changes).map((name) => [name, process.env[name]]));
  setEnvironment(changes);
  try {
    return await work();
  } finally {
    setEnvironment(before);
  }
}

const GPU_DEVICE = /^(nvidia\d|nvidiactl$|dxg$|kgsl|mali|pvr|nvhost-gpu$|nvmap$)/;

function driverKind(text: string): VulkanDriver["kind"] {
  if (/swiftshader/i.test(text)) return "swiftshader";
  return /lvp|lavapipe/i.test(text) ? "lavapipe" : "hardware";
}

/** The loader's search path: "Driver discovery on Linux" in its LoaderDriverInterface document. */
function driverFolders({
  XDG_CONFIG_HOME,
  XDG_CONFIG_DIRS,
  XDG_DATA_HOME,
  XDG_DATA_DIRS,
}: NodeJS.ProcessEnv): string[] {
  const bases = [
    XDG_CONFIG_HOME || join(homedir(), ".config"),
    ...(XDG_CONFIG_DIRS || "/etc/xdg").split(delimiter),
    "/etc",
    XDG_DATA_HOME || join(homedir(), ".local/share"),
    ...(XDG_DATA_DIRS || "/usr/local/share:/usr/share").split(delimiter),
  ];
  return [...new Set(bases)].map((base) => join(base, "vulkan", "icd.d"));
}

function jsonFiles(folder: string): string[] {
  return listFolder(folder)
    .filter((name) => name.endsWith(".json"))
    .map((name) => join(folder, name));
}

function listFolder(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return []; // absent or not ours to read: no driver there for us
  }
}

function readText(path: string): string | undefined {
  return path && existsSync(path) ? readFileSync(path, "utf8") : undefined;
}

function setEnvironment(values: Record<string, string | undefined>): void {
  for (const [name, value] of Object.entries(values)) {
    if (value === undefined) delete process.env[name];
    else process.env[name] = value;
  }
}
