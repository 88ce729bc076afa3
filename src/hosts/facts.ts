/** The host's name and version, and the WebGPU implementation it has. */
import type { HostName } from "../gpu/host.ts";

/** Whose implementation of WebGPU runs. */
export type Backend = "Dawn" | "wgpu" | "WebKit";

export interface HostFacts {
  host: string;
  hostVersion: string;
  backend: Backend;
}

/** Browsers by their user agent, the first that matches; Chrome's and Edge's also say Safari. */
const BROWSERS: readonly { name: string; pattern: RegExp; backend: Backend }[] = [
  { name: "firefox", pattern: /Firefox\/([\d.]+)/, backend: "wgpu" },
  { name: "edge", pattern: /Edg\/([\d.]+)/, backend: "Dawn" },
  { name: "chrome", pattern: /Chrome\/([\d.]+)/, backend: "Dawn" },
  { name: "safari", pattern: /Version\/([\d.]+).*Safari/, backend: "WebKit" },
];

interface Globals {
  Deno?: { version: { deno: string } };
  process?: { versions: { node?: string } };
  navigator?: { userAgent: string };
}

export function hostFacts(host: HostName, globals: Globals = globalThis as Globals): HostFacts {
  if (host === "deno") return { host, hostVersion: globals.Deno?.version.deno ?? "", backend: "wgpu" };
  if (host === "node") return { host, hostVersion: globals.process?.versions.node ?? "", backend: "Dawn" };
  const agent = globals.navigator?.userAgent ?? "";
  for (const { name, pattern, backend } of BROWSERS) {
    const version = pattern.exec(agent)?.[1];
    if (version) return { host: name, hostVersion: version, backend };
  }
  return { host, hostVersion: "", backend: "Dawn" };
}
