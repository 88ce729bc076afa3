/**
 * Lines that native code writes to stderr by itself. Dawn writes two about every lavapipe adapter, and has no switch for
 * them: lavapipe allows a million dynamic buffers, and Dawn says that it uses 16. Nothing depends on it.
 */
import { vulkanDrivers } from "./vulkan.node.ts";

const NOISE = /^Warning: max\w+ artificially reduced from \d+ to \d+ to fit dynamic offset allocation limit\.$/;

/** Whether a program on this machine may get to see such lines. */
export function isNoisy(): boolean {
  return process.platform === "linux" && vulkanDrivers().some(({ kind }) => kind === "lavapipe");
}

/** Whether a line of stderr is one of them. */
export function isNoise(line: string): boolean {
  return NOISE.test(line);
}
