/**
 * Time per kernel, by timestamp queries around each dispatch. Every dispatch then has a compute pass of its own, which takes
 * time itself. So profile in a run of its own, and take shares from it rather than totals.
 */
import { GpuError } from "../errors.ts";
import type { Buffers } from "./buffers.ts";
import type { GpuHost } from "./host.ts";

/** What a kernel took. */
export interface KernelTime {
  dispatches: number;
  /** Milliseconds on the GPU's clock. */
  ms: number;
}

/** WebGPU allows 4096 queries a set. */
const MAX_TIMED = 2048;
const QUERY_RESOLVE_AND_COPY_SRC = 0x200 | 0x4;
const MAP_READ_AND_COPY_DST = 0x1 | 0x8;

export class Profiler {
  readonly times = new Map<string, KernelTime>();
  #queries: GPUQuerySet;
  #names: string[] = [];
  #pending: { names: string[]; resolved: GPUBuffer; staging: GPUBuffer }[] = [];

  /** @throws GpuError `gpu/no-timestamps` when the device has no timestamp queries. */
  constructor(
    { device, features, adapterInfo }: GpuHost,
    private readonly buffers: Buffers,
  ) {
    if (!features.has("timestamp-query")) {
      throw new GpuError(
        "gpu/no-timestamps",
        `${adapterInfo.name} has no timestamp queries, so kernels cannot be timed. Time whole runs, or take another adapter or browser.`,
      );
    }
    this.#queries = device.createQuerySet({ type: "timestamp", count: 2 * MAX_TIMED });
  }

  /** Where the next dispatch writes its two timestamps; undefined once the set is full, and it is not timed then. */
  next(name: string): GPUComputePassTimestampWrites | undefined {
    if (this.#names.length === MAX_TIMED) return undefined;
    const first = 2 * this.#names.length;
    this.#names.push(name);
    return { querySet: this.#queries, beginningOfPassWriteIndex: first, endOfPassWriteIndex: first + 1 };
  }

  /** Copies out what the encoder's passes wrote. */
  resolve(encoder: GPUCommandEncoder): void {
    const names = this.#names.splice(0);
    if (names.length === 0) return;
    const bytes = 16 * names.length;
    const resolved = this.buffers.create(bytes, QUERY_RESOLVE_AND_COPY_SRC, "timestamps");
    const staging = this.buffers.create(bytes, MAP_READ_AND_COPY_DST, "timestamps readback");
    encoder.resolveQuerySet(this.#queries, 0, 2 * names.length, resolved, 0);
    encoder.copyBufferToBuffer(resolved, 0, staging, 0, bytes);
    this.#pending.push({ names, resolved, staging });
  }

  /** Reads all timestamps and frees what they lay in. */
  async finish(): Promise<void> {
    for (const { names, resolved, staging } of this.#pending) {
      await staging.mapAsync(1);
      const stamps = new BigUint64Array(staging.getMappedRange());
      names.forEach((name, index) => {
        const time = this.times.get(name) ?? { dispatches: 0, ms: 0 };
        time.dispatches += 1;
        time.ms += Number((stamps[2 * index + 1] as bigint) - (stamps[2 * index] as bigint)) / 1e6;
        this.times.set(name, time);
      });
      this.buffers.destroy(staging);
      this.buffers.destroy(resolved);
    }
    this.#queries.destroy();
  }
}
