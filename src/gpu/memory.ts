/**
 * The memory of a device: its buffers, and the parts that keep some of them for the next use.
 *
 * | kept in      | what                                           | handed out again                      |
 * |--------------|------------------------------------------------|---------------------------------------|
 * | `pool`       | temporaries of a recording                     | by size class, as soon as submitted   |
 * | `uploads`    | buffers filled from the host before the first operation of a submission | the same     |
 * | `reuseCache` | results, readbacks, key-value caches           | for exactly the same size and use     |
 * | `params`     | the parameters of a submission                 | by the next submission                |
 */
import { Buffers } from "./buffers.ts";
import type { DeviceCore } from "./device-core.ts";
import type { Books } from "./ledger.ts";
import { ParamArena } from "./param-arena.ts";
import { BufferPool } from "./pool.ts";
import { ReuseCache } from "./reuse-cache.ts";

export class DeviceMemory {
  readonly buffers: Buffers;
  readonly pool: BufferPool;
  readonly uploads: BufferPool;
  readonly reuseCache: ReuseCache;
  readonly params: ParamArena;

  constructor(core: DeviceCore, books: Omit<Books, "trim">) {
    const { forget, notice, memoryLeft } = books;
    this.buffers = new Buffers(core, {
      ...{ forget, notice, memoryLeft },
      trim: () => this.trim(),
      noMemory: (buffer) => this.#evict(buffer),
    });
    this.pool = new BufferPool(this.buffers);
    this.uploads = new BufferPool(this.buffers);
    this.reuseCache = new ReuseCache(this.buffers);
    this.params = new ParamArena(this.buffers);
  }

  /** A buffer without memory must never be handed out again: the part that keeps it drops it, now or when it comes back. */
  #evict(buffer: GPUBuffer): void {
    for (const keeper of [this.pool, this.uploads, this.reuseCache, this.params]) keeper.evict(buffer);
    // Memory that nobody uses may be enough for a second try.
    this.trim();
  }

  /** Frees the buffers that are kept for reuse. */
  trim(): void {
    for (const keeper of [this.pool, this.uploads, this.reuseCache]) keeper.trim();
  }
}
