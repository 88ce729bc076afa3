/** Which Vulkan driver the child processes see, by environment: the machine's lavapipe, or the SwiftShader from npm. */
import { tmpdir } from "node:os";
import { unpackSwiftShader } from "../../src/hosts/swiftshader.node.ts";
import { vulkanDrivers } from "../../src/hosts/vulkan.node.ts";

export type AdapterName = "lavapipe" | "swiftshader" | "hardware";

/** What to add to the environment so that a process finds this adapter and no other. */
export function driverEnvironment(adapter: AdapterName): Record<string, string> {
  const common = { SUPERLENS_ADAPTER: adapter, XDG_RUNTIME_DIR: process.env.XDG_RUNTIME_DIR ?? tmpdir() };
  if (adapter === "hardware") return common;
  if (adapter === "lavapipe") return { ...common, ...only(lavapipe()) };
  const bundle = unpackSwiftShader();
  if (!bundle) throw new Error("SwiftShader comes with @sparticuz/chromium: run npm ci in the project's root.");
  return { ...common, ...only(bundle.manifest), LD_LIBRARY_PATH: bundle.folder };
}

function only(manifest: string): Record<string, string> {
  return { VK_ICD_FILENAMES: manifest, VK_DRIVER_FILES: manifest };
}

function lavapipe(): string {
  const driver = vulkanDrivers().find(({ kind }) => kind === "lavapipe");
  if (!driver) throw new Error("There is no lavapipe here: install mesa-vulkan-drivers, or use --adapter swiftshader.");
  return driver.manifest;
}
