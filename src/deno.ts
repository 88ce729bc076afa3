/**
 * The entry for Deno: the main entry, with folders as checkpoint sources, and downloads and the tuner's choices kept on
 * disk. WebGPU is Deno's own `navigator.gpu`.
 */
import { DENO } from "./hosts/deno.node.ts";
import { registerHost } from "./hosts/host.ts";

registerHost(DENO);

export * from "./index.ts";
