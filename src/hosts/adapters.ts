/** Adapters: the kinds one can ask for, who finds them, and the facts of the one that was found. */
import { GpuError } from "../errors.ts";
import type { AdapterInfo, AdapterKind, HostName, MemoryLeft } from "../gpu/host.ts";
import * as s from "../schema/schema.ts";

/**
 * Which adapter to take. `auto` prefers hardware and accepts software; the others insist, and fail when there is no
 * such adapter. `lavapipe` and `swiftshader` are the two software implementations of Vulkan.
 */
export type AdapterChoice = "auto" | "hardware" | "lavapipe" | "swiftshader";

/** Which GPU of a computer with two. */
export type PowerPreference = "low-power" | "high-performance";

/** Every `AdapterChoice`, for option parsers. */
export const ADAPTER_CHOICES: readonly AdapterChoice[] = ["auto", "hardware", "lavapipe", "swiftshader"];

/** Finds adapters where `navigator.gpu` does not. */
export interface GpuProvider {
  host: HostName;
  /** The choice when a request has none. */
  defaultAdapter(): AdapterChoice;
  /** @throws GpuError `gpu/no-adapter` when the choice cannot be met. */
  requestAdapter(request: { adapter: AdapterChoice; powerPreference?: PowerPreference }): Promise<GPUAdapter>;
  /** What happens when a request has no `onAdapter`. */
  onAdapter(info: AdapterInfo): void;
  /** What the process has left; undefined where that cannot be known. */
  memoryLeft?: (() => MemoryLeft) | undefined;
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
