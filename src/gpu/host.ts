/**
 * The host gives a device. In a browser and in Deno WebGPU is `navigator.gpu`; Node has none of its own, so the Node
 * entry registers a provider that brings Dawn. Everything above this file sees a `GpuHost` and does not care which.
 *
 * A device gets only the limits it asks for, and WebGPU's defaults are small (128 MB a binding), so the adapter's own
 * maximum is requested for every limit that compute depends on. Kernels read `device.limits`, never a constant.
 */
import { abortable } from "../abort.ts";
import { GpuError } from "../errors.ts";
import * as s from "../schema/schema.ts";
import { noAdapterError } from "./no-adapter.ts";

/**
 * Which adapter to take. `auto` prefers hardware and accepts software; the others insist, and fail when there is no
 * such adapter. `lavapipe` and `swiftshader` are the two software implementations of Vulkan.
 */
export type AdapterChoice = "auto" | "hardware" | "lavapipe" | "swiftshader";

/** Every `AdapterChoice`, for option parsers. */
export const ADAPTER_CHOICES: readonly AdapterChoice[] = ["auto", "hardware", "lavapipe", "swiftshader"];

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

/** Features asked for when the adapter has them. None is needed; kernels may have faster variants that use them. */
export const OPTIONAL_FEATURES = ["shader-f16", "subgroups", "timestamp-query"] as const;

/** What kind of GPU is wanted. */
export interface GpuRequest {
  /** Defaults to `SUPERLENS_ADAPTER` in Node, `auto` elsewhere. */
  adapter?: AdapterChoice;
  /** Which GPU of a computer with two. Defaults to `high-performance` in Node and Deno, to the browser's wish there. */
  powerPreference?: GPUPowerPreference;
  /** Called with the adapter that runs. Defaults to one line on stderr in Node, nothing elsewhere. */
  onAdapter?: (info: AdapterInfo) => void;
  /** Suppresses the default line on stderr. */
  quiet?: boolean;
  /** Ends the request with `signal.reason`; a device that comes after that is destroyed. */
  signal?: AbortSignal;
}

export const GPU_REQUEST_FIELDS = {
  adapter: s.text,
  powerPreference: s.oneOf("low-power", "high-performance"),
  onAdapter: s.callback,
  quiet: s.flag,
  signal: s.signal,
} as const satisfies s.Fields<GpuRequest>;

const GPU_REQUEST = s.object<GpuRequest>("the options of requestGpu", GPU_REQUEST_FIELDS);

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
  features: GPUSupportedFeatures;
  /** Of a software adapter, whose buffers are the process's own memory, where the host can say; a look takes milliseconds. */
  memoryLeft?: (() => MemoryLeft) | undefined;
}

/** Finds adapters where `navigator.gpu` does not. */
export interface GpuProvider {
  host: HostName;
  /** The choice when a request has none. */
  defaultAdapter(): AdapterChoice;
  /** @throws GpuError `gpu/no-adapter` when the choice cannot be met. */
  requestAdapter(request: { adapter: AdapterChoice; powerPreference?: GPUPowerPreference }): Promise<GPUAdapter>;
  /** What happens when a request has no `onAdapter`. */
  onAdapter(info: AdapterInfo): void;
  /** What the process has left; undefined where that cannot be known. */
  memoryLeft?: (() => MemoryLeft) | undefined;
}

const COMPUTE_LIMITS = [
  "maxBindGroups",
  "maxBindingsPerBindGroup",
  "maxBufferSize",
  "maxStorageBufferBindingSize",
  "maxUniformBufferBindingSize",
  "maxStorageBuffersPerShaderStage",
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupSizeX",
  "maxComputeWorkgroupSizeY",
  "maxComputeWorkgroupSizeZ",
  "maxComputeWorkgroupsPerDimension",
] as const satisfies readonly (keyof GPUSupportedLimits)[];

let registered: GpuProvider | undefined;

/** Replaces `navigator.gpu` as the source of adapters. The Node entry does this once, when it is loaded. */
export function registerGpuProvider(provider: GpuProvider): void {
  registered = provider;
}

/**
 * A device on the adapter asked for, with the adapter's own limits.
 *
 * @throws GpuError `gpu/no-adapter` when there is none or not the one asked for, with what to install;
 *   `gpu/unknown-adapter` for a choice that does not exist; `gpu/no-device` when the adapter refuses a device.
 */
export async function requestGpu(options: GpuRequest = {}): Promise<GpuHost> {
  const request = s.readOptions(GPU_REQUEST, options, "requestGpu");
  const provider = registered ?? navigatorProvider;
  const choice = parseAdapterChoice(request.adapter ?? provider.defaultAdapter(), "The option `adapter`");
  const { signal, powerPreference } = request;
  signal?.throwIfAborted();
  const adapter = await abortable(provider.requestAdapter({ adapter: choice, powerPreference }), signal);
  const adapterInfo = describeAdapter(adapter, provider.host);
  const device = await abortable(requestDevice(adapter, adapterInfo), signal, (late) => late.destroy());
  try {
    if (request.onAdapter) await abortable(Promise.resolve(request.onAdapter(adapterInfo)), signal);
    else if (!request.quiet) provider.onAdapter(adapterInfo);
  } catch (error) {
    device.destroy();
    throw error;
  }
  const memoryLeft = adapterInfo.isSoftware ? provider.memoryLeft : undefined;
  return { device, adapterInfo, limits: device.limits, features: device.features, memoryLeft };
}

/**
 * The adapter choice that a text names.
 * @param source what the value was given by, for the message.
 * @throws GpuError `gpu/unknown-adapter`
 */
export function parseAdapterChoice(value: string, source: string): AdapterChoice {
  const choice = ADAPTER_CHOICES.find((candidate) => candidate === s.readArgument(s.text, value, "adapter", "value"));
  if (choice) return choice;
  const allowed = ADAPTER_CHOICES.join(", ");
  throw new GpuError("gpu/unknown-adapter", `${source} is ${JSON.stringify(value)}. Use one of: ${allowed}.`);
}

/** What kind of adapter this is. Browsers hide most of `GPUAdapterInfo`, so every field is looked at. */
export function describeAdapter(adapter: GPUAdapter, host: HostName): AdapterInfo {
  const { vendor, architecture, device, description, isFallbackAdapter, subgroupMinSize = 0 } = adapter.info;
  const kind = adapterKind([vendor, architecture, device, description].join(" "), isFallbackAdapter);
  const names = [device.replace(/-+$/, ""), description].filter((part) => /\D/.test(part));
  const name = names.join(", ") || `${vendor} ${architecture}`.trim() || "unnamed adapter";
  return { host, kind, isSoftware: kind !== "hardware", name, vendor, architecture, description, subgroupMinSize };
}

/** One line for people: which adapter runs, and that it is slow when it is software. */
export function adapterLine(info: AdapterInfo): string {
  const line = `superlens: WebGPU adapter: ${info.name} (${info.kind}, ${info.host})`;
  return info.isSoftware ? `${line}. Warning: this is software on the CPU, right but slow.` : line;
}

function adapterKind(text: string, isFallback: boolean): AdapterKind {
  if (/swiftshader/i.test(text)) return "swiftshader";
  if (/llvmpipe|lavapipe/i.test(text)) return "lavapipe";
  return isFallback || /basic render|\bwarp\b/i.test(text) ? "software" : "hardware";
}

async function requestDevice(adapter: GPUAdapter, info: AdapterInfo): Promise<GPUDevice> {
  const requiredLimits: Record<string, GPUSize64> = {};
  for (const name of COMPUTE_LIMITS) {
    const value = adapter.limits[name];
    if (value !== undefined) requiredLimits[name] = value;
  }
  const requiredFeatures = OPTIONAL_FEATURES.filter((feature) => adapter.features.has(feature));
  try {
    return await adapter.requestDevice({ label: "superlens", requiredLimits, requiredFeatures });
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    const remedy = "Update the graphics driver, close other programs that use the GPU, or choose another adapter.";
    throw new GpuError("gpu/no-device", `${info.name} refused a device: ${reason} ${remedy}`, { cause });
  }
}

/** Why there is no `navigator.gpu`: browsers hide it from pages that came over plain http. */
function whyNoWebGpu(host: HostName): string {
  return host === "browser" && globalThis.isSecureContext === false
    ? `this page is not secure (${globalThis.location?.origin}), so the browser gives it no WebGPU`
    : `${host} has no navigator.gpu`;
}

/** Adapters of `navigator.gpu`. A page cannot pick a driver: what it asked for is compared with what it got. */
const navigatorProvider: GpuProvider = {
  get host(): HostName {
    if ("Deno" in globalThis) return "deno";
    return "process" in globalThis && !("document" in globalThis) && !("WorkerGlobalScope" in globalThis)
      ? "node"
      : "browser";
  },
  defaultAdapter: () => "auto",
  onAdapter: () => undefined,
  async requestAdapter({ adapter: choice, powerPreference }) {
    const { host } = this;
    const gpu = (globalThis.navigator as { gpu?: GPU } | undefined)?.gpu;
    if (!gpu) throw noAdapterError(choice, [whyNoWebGpu(host)], host);
    const preference = powerPreference ?? (host === "browser" ? undefined : "high-performance");
    const tried: string[] = [];
    for (const forceFallbackAdapter of choice === "hardware" ? [false] : [false, true]) {
      const adapter = await gpu.requestAdapter({ powerPreference: preference, forceFallbackAdapter });
      const info = adapter && describeAdapter(adapter, host);
      if (adapter && (choice === "auto" || info?.kind === choice)) return adapter;
      tried.push(info ? `${host} offers ${info.name} (${info.kind})` : `${host} offers no adapter`);
    }
    throw noAdapterError(choice, [...new Set(tried)], host);
  },
};
