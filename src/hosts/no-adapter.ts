/**
 * The error of a machine without a usable adapter. A newcomer may see it first of all, so it says what was tried and, for
 * each platform or browser, what to install or switch on.
 */
import { GpuError } from "../errors.ts";
import type { HostName } from "../gpu/host.ts";

/** A page cannot install anything: what its reader can do. */
const IN_A_BROWSER = [
  "Any browser: open the page over https or on localhost, switch on hardware acceleration in the settings, and update browser and graphics driver",
  "Chrome, Edge: use version 113 or later (Android: 121), and read chrome://gpu for what is switched off; on Linux start it with --enable-unsafe-webgpu --enable-features=Vulkan",
  "Firefox: use version 141 or later on Windows, 145 on macOS; elsewhere use Nightly, or set dom.webgpu.enabled in about:config",
  "Safari: use version 26 or later, on macOS, iOS and iPadOS",
  "No GPU, or a driver that the browser refuses: start Chrome with --enable-unsafe-webgpu --use-webgpu-adapter=swiftshader, which runs on the CPU",
];

const IN_A_PROGRAM = [
  "Linux: install a Vulkan driver (Debian, Ubuntu: apt install mesa-vulkan-drivers for Intel, AMD and software; NVIDIA: the vendor's driver with libvulkan1); software without root: npm install @sparticuz/chromium (x64)",
  "macOS: Metal is built in; use macOS 13 or later",
  "Windows: install the GPU vendor's driver (Direct3D 12)",
  "Node: use Node 20.12 or later on x64 or arm64 and import the Node entry of superlens, which brings the npm package webgpu",
  "Deno: use Deno 2.2 or later and the same drivers; on Linux VK_DRIVER_FILES names a driver's .json file",
  "Chrome: use version 113 or later over https or on localhost; see chrome://gpu, and on Linux start it with --enable-unsafe-webgpu --enable-features=Vulkan",
];

/**
 * GpuError `gpu/no-adapter`.
 * @param choice what was asked for: never replaced by another silently.
 * @param tried what was looked at and why it did not do, one entry each.
 * @param host who is to be helped: a browser's user has other means than a programmer.
 */
export function noAdapterError(
  choice: string,
  tried: readonly string[],
  host: HostName,
  options?: ErrorOptions,
): GpuError {
  const wanted = choice === "auto" ? "No WebGPU adapter was found" : `No WebGPU adapter of kind "${choice}" was found`;
  const reasons = tried.length > 0 ? ` (${tried.join("; ")})` : "";
  const another = choice === "auto" ? [] : ['Any host: let the adapter be "auto" to take what there is'];
  const remedies = [...another, ...(host === "browser" ? IN_A_BROWSER : IN_A_PROGRAM)].map((remedy) => `  ${remedy}.`);
  return new GpuError("gpu/no-adapter", [`${wanted}${reasons}. What helps:`, ...remedies].join("\n"), options);
}
