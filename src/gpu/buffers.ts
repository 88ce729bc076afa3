/** The buffers of a device. They are made and destroyed here, and each has a number and an entry in the ledger. */
import { GpuError } from "../errors.ts";
import type { DeviceCore } from "./device-core.ts";
import { type Books, Ledger } from "./ledger.ts";

/** Who is told of what happens to buffers. */
export interface BufferEvents extends Books {
  /** There was no memory for a buffer, which must never serve again. */
  noMemory(buffer: GPUBuffer): void;
}

export class Buffers {
  /** Which buffers are alive, and for what. */
  readonly ledger: Ledger;
  /** The most bytes that were alive at once since `resetPeak()`. */
  peakBytes = 0;
  #nextId = 1;
  #ids = new WeakMap<GPUBuffer, number>();

  constructor(
    private readonly core: DeviceCore,
    private readonly events: BufferEvents,
  ) {
    this.ledger = new Ledger(events);
    core.whenLost(() => this.ledger.close());
  }

  get limits(): GPUSupportedLimits {
    return this.core.limits;
  }

  /** A stable number for a buffer, used to key bind groups. */
  idOf(buffer: GPUBuffer): number {
    let id = this.#ids.get(buffer);
    if (id === undefined) {
      id = this.#nextId++;
      this.#ids.set(buffer, id);
    }
    return id;
  }

  /**
   * A new zeroed buffer, counted in `ledger.memory`.
   * @throws GpuError `gpu/out-of-memory` when it exceeds `maxBufferSize`; a failing allocation surfaces in `guard`.
   */
  create(bytes: number, usage: number, label: string): GPUBuffer {
    this.core.check();
    const size = Math.max(16, Math.ceil(bytes / 4) * 4);
    if (size > this.limits.maxBufferSize) {
      throw new GpuError(
        "gpu/out-of-memory",
        `${label} needs ${size} bytes in one buffer; this adapter allows ${this.limits.maxBufferSize}. Ask for fewer rows or positions at once.`,
      );
    }
    this.ledger.admit(size, label);
    const buffer = this.core.allocate({ size, usage, label }, (failed) => this.#failed(failed));
    this.ledger.add(buffer, this.idOf(buffer), label);
    this.peakBytes = Math.max(this.peakBytes, this.ledger.memory.bytes);
    return buffer;
  }

  #failed(buffer: GPUBuffer): void {
    const others = this.ledger.memory.bytes - buffer.size;
    this.core.report(
      new GpuError(
        "gpu/out-of-memory",
        `The GPU has no memory for ${buffer.size} bytes (${buffer.label}) beside the ${others} in use. Destroy caches and logits you no longer need, or use fewer or shorter sequences.`,
      ),
    );
    this.events.noMemory(buffer);
  }

  /** Frees a buffer of `create`, and the bind groups that hold it. Calling it twice is allowed. */
  destroy(buffer: GPUBuffer): void {
    if (!this.ledger.remove(buffer)) return;
    this.events.forget(this.idOf(buffer));
    buffer.destroy();
  }

  /** Lets `peakBytes` begin again at what is alive now. */
  resetPeak(): void {
    this.peakBytes = this.ledger.memory.bytes;
  }
}
