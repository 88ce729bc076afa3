/**
 * The buffer pool: temporary buffers, reused. Work runs on one queue in the order of submission. So a buffer may be handed out
 * again as soon as the recording that used it is submitted, and nobody has to wait for the GPU. (Within a recording, the
 * recorder reuses what it has released itself.)
 *
 * Sizes are rounded up to quarter powers of two, so at most 19% is wasted and a few classes serve every shape. The pool keeps
 * at most what recordings have needed at once. Beyond that, it first drops the size that was not given back for longest.
 */
import type { Buffers } from "./buffers.ts";
import { STORAGE_USAGE } from "./usage.ts";

/** Kept at least, however little recordings need. */
const LEAST_BYTES_KEPT = 1 << 27;

export class BufferPool {
  /** By size, the one last given back at the end. */
  #free = new Map<number, GPUBuffer[]>();
  #freeBytes = 0;
  #bytesInUse = 0;
  #mostInUse = 0;
  #evicted = new WeakSet<GPUBuffer>();

  constructor(private readonly buffers: Buffers) {}

  /** A buffer of at least `bytes`; its contents are whatever was there. */
  acquire(bytes: number): GPUBuffer {
    const size = this.sizeFor(bytes);
    const kept = this.#free.get(size)?.pop();
    if (kept) this.#freeBytes -= size;
    const buffer = kept ?? this.buffers.create(size, STORAGE_USAGE, `temporary ${size}`);
    this.#bytesInUse += size;
    this.#mostInUse = Math.max(this.#mostInUse, this.#bytesInUse);
    return buffer;
  }

  /** The size class that serves `bytes`. What the adapter can make and bind must stay so, whatever it is rounded up to. */
  sizeFor(bytes: number): number {
    const exponent = Math.ceil(4 * Math.log2(Math.max(256, bytes))) / 4;
    const size = Math.max(Math.ceil(bytes / 16) * 16, Math.ceil(2 ** exponent / 16) * 16);
    const { maxStorageBufferBindingSize, maxBufferSize } = this.buffers.limits;
    const limit = [maxStorageBufferBindingSize, maxBufferSize].find((limit) => bytes <= limit && size > limit);
    return limit === undefined ? size : Math.floor(limit / 4) * 4;
  }

  release(buffer: GPUBuffer): void {
    const { size } = buffer;
    this.#bytesInUse -= size;
    if (this.#evicted.has(buffer)) {
      this.buffers.destroy(buffer);
      return;
    }
    const shelf = this.#free.get(size) ?? [];
    this.#free.delete(size);
    this.#free.set(size, shelf);
    shelf.push(buffer);
    this.#freeBytes += size;
    while (this.#freeBytes > Math.max(LEAST_BYTES_KEPT, this.#mostInUse)) this.#dropOldest();
  }

  #dropOldest(): void {
    const [size, shelf] = this.#free.entries().next().value as [number, GPUBuffer[]];
    const buffer = shelf.pop();
    if (!buffer) {
      this.#free.delete(size);
      return;
    }
    this.#freeBytes -= size;
    this.buffers.destroy(buffer);
  }

  /** Sees to it that a buffer is destroyed instead of handed out again. */
  evict(buffer: GPUBuffer): void {
    this.#evicted.add(buffer);
    const shelf = this.#free.get(buffer.size);
    const index = shelf?.indexOf(buffer) ?? -1;
    if (index < 0) return;
    shelf?.splice(index, 1);
    this.#freeBytes -= buffer.size;
    this.buffers.destroy(buffer);
  }

  /** Frees the buffers nobody holds. */
  trim(): void {
    while (this.#free.size > 0) this.#dropOldest();
  }
}
