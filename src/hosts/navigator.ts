/** Adapters of `navigator.gpu`, which browsers and Deno have. */
import type { HostName } from "../gpu/host.ts";
import { describeAdapter, type GpuProvider } from "./adapters.ts";
import { noAdapterError } from "./no-adapter.ts";

/** Why there is no `navigator.gpu`: browsers hide it from pages that came over plain http. */
function whyNoWebGpu(host: HostName): string {
  return host === "browser" && globalThis.isSecureContext === false
    ? `this page is not secure (${globalThis.location?.origin}), so the browser gives it no WebGPU`
    : `${host} has no navigator.gpu`;
}

/** A page cannot pick a driver: what it asked for is compared with what it got. */
export const navigatorProvider: GpuProvider = {
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
