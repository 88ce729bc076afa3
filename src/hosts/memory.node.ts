/** How much this process may still take before Linux ends it: memory, and mappings of memory. */
import { readFileSync } from "node:fs";
import { freemem } from "node:os";
import type { MemoryLeft } from "../gpu/host.ts";

/** For everything that is no buffer: JavaScript, threads, the adapter's compiler. */
const RESERVED = { bytes: 128 << 20, mappings: 4096 };
/** Linux's own default, where it does not say. */
const USUAL_MAPPINGS = 65530;

/** Reads /proc; 20 ms with 60,000 mappings. A file that cannot be read sets no limit. */
export function memoryLeftOfProcess(): MemoryLeft {
  const most = Number(textOf("/proc/sys/vm/max_map_count")) || USUAL_MAPPINGS;
  const mappings = textOf("/proc/self/maps").split("\n").length;
  const swap = 1024 * Number(/^SwapFree:\s+(\d+) kB/m.exec(textOf("/proc/meminfo"))?.[1] ?? 0);
  return {
    bytes: (process.availableMemory?.() ?? freemem()) + swap - RESERVED.bytes,
    buffers: most - mappings - RESERVED.mappings,
  };
}

function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
