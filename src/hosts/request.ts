/**
 * Requests a device from the host. The adapter comes from `navigator.gpu`, or from what the Node entry registered.
 *
 * A device gets only the limits it asks for, and WebGPU's defaults are small (128 MB a binding), so the adapter's own
 * maximum is requested for every limit that compute depends on. Kernels read `device.limits`, never a constant.
 */
import { abortable } from "../abort.ts";
import { GpuError } from "../errors.ts";
import type { AdapterInfo, GpuHost } from "../gpu/host.ts";
import * as s from "../schema/schema.ts";
import {
  type AdapterChoice,
  describeAdapter,
  type GpuProvider,
  type PowerPreference,
  parseAdapterChoice,
} from "./adapters.ts";
import { navigatorProvider } from "./navigator.ts";

/** Features asked for when the adapter has them. None is needed; kernels may have faster variants that use them. */
export const OPTIONAL_FEATURES = ["shader-f16", "subgroups", "timestamp-query"] as const;

/** What kind of GPU is wanted. */
export interface GpuRequest {
  /** Defaults to `SUPERLENS_ADAPTER` in Node, `auto` elsewhere. */
  adapter?: AdapterChoice;
  /** Which GPU of a computer with two. The default is `high-performance` in Node and Deno; a browser chooses by itself. */
  powerPreference?: PowerPreference;
  /** Called with the adapter that is used. By default Node prints one line on stderr, other hosts nothing. */
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

let provider: GpuProvider = navigatorProvider;

/** Replaces `navigator.gpu` as the source of adapters. The Node entry does this once, when it is loaded. */
export function registerGpuProvider(other: GpuProvider): void {
  provider = other;
}

/**
 * A device on the adapter asked for, with the adapter's own limits.
 *
 * @throws GpuError `gpu/no-adapter` when there is none or not the one asked for, with what to install;
 *   `gpu/unknown-adapter` for a choice that does not exist; `gpu/no-device` when the adapter refuses a device.
 */
export async function requestGpu(options: GpuRequest = {}): Promise<GpuHost> {
  const request = s.readOptions(GPU_REQUEST, options, "requestGpu");
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
