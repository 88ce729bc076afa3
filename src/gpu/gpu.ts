/**
 * A GPU in use, put together from its parts: the device core (errors, loss), memory, pipelines, bind groups, counters and
 * the profiler. Each part knows only the parts that it needs, and none knows this class.
 */
import * as s from "../schema/schema.ts";
import { BindGroupCache } from "./bind-groups.ts";
import type { Buffers } from "./buffers.ts";
import { newCounters } from "./counters.ts";
import { DeviceCore } from "./device-core.ts";
import type { GpuHost } from "./host.ts";
import type { Ledger } from "./ledger.ts";
import { DeviceMemory } from "./memory.ts";
import { PipelineCache } from "./pipelines.ts";
import type { BufferPool } from "./pool.ts";
import { type KernelTime, Profiler } from "./profiler.ts";
import type { ReuseCache } from "./reuse-cache.ts";
import { Tensor, type TensorType } from "./tensor.ts";
import { STORAGE_USAGE } from "./usage.ts";
import { warn } from "./warn.ts";

const HOST = s.simple<GpuHost>(
  "what requestGpu() gave",
  (value) => typeof value === "object" && value !== null && "device" in value && "limits" in value,
);

/**
 * A GPU device in use: makes and counts its buffers, turns its errors into `GpuError`s, and keeps its compiled
 * pipelines.
 * Made from what `requestGpu` gives. Several models can share one; then the caller destroys it after them.
 */
export class Gpu {
  readonly device: GPUDevice;
  /** The device's limits, which are the adapter's own for all that compute depends on. */
  readonly limits: GPUSupportedLimits;
  /** Errors, and whether the device is still there. */
  readonly core: DeviceCore;
  /** Compiled kernels. */
  readonly pipelines: PipelineCache;
  readonly bindGroups: BindGroupCache;
  /** Where buffers are made and ended. */
  readonly buffers: Buffers;
  /** Temporaries of a recording. */
  readonly pool: BufferPool;
  /** Buffers filled from the host at the start of a submission. */
  readonly uploads: BufferPool;
  /** Results and readbacks, for the next of the same size. */
  readonly reuseCache: ReuseCache;
  /** A few zeros, bound where a kernel has an operand it will not read. */
  readonly zeros: Tensor;
  /** Called with what a person should know about memory: results were forgotten, or too many are held. */
  onNotice: (message: string) => void = warn;
  /** The fastest kernel known for each class of work: its name by the class's key (`src/kernels/family.ts`). */
  readonly choices = new Map<string, string>();
  /** What was dispatched since the device was made. */
  readonly counters = newCounters();
  /** There while `profile` runs. */
  profiler: Profiler | undefined;
  readonly #memory: DeviceMemory;

  constructor(readonly host: GpuHost) {
    s.readArgument(HOST, host, "Gpu", "host");
    this.device = host.device;
    this.limits = host.limits;
    this.core = new DeviceCore(host.device, host.limits);
    this.pipelines = new PipelineCache(host.device);
    this.bindGroups = new BindGroupCache(host.device);
    this.#memory = new DeviceMemory(this.core, {
      forget: (id) => this.bindGroups.forget(id),
      notice: (message) => void this.#notice(message),
      memoryLeft: host.memoryLeft,
    });
    this.buffers = this.#memory.buffers;
    this.pool = this.#memory.pool;
    this.uploads = this.#memory.uploads;
    this.reuseCache = this.#memory.reuseCache;
    this.zeros = this.tensor([4], "zeros");
  }

  /** A notice belongs to no call that its failure could end. */
  async #notice(message: string): Promise<void> {
    try {
      await this.onNotice(message);
    } catch (error) {
      warn(`onNotice failed: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  /** Which buffers are alive, and for what. */
  get ledger(): Ledger {
    return this.buffers.ledger;
  }

  /** Bytes and buffers alive now, those kept for reuse included. */
  get memory(): { readonly bytes: number; readonly buffers: number } {
    return this.ledger.memory;
  }

  /** The most bytes that were alive at once since `resetPeak()`. */
  get peakBytes(): number {
    return this.buffers.peakBytes;
  }

  /** Throws when the device is gone, or when an earlier error belonged to no operation. */
  check(): void {
    this.core.check();
  }

  /**
   * A new zeroed buffer, counted in `memory`.
   * @throws GpuError `gpu/out-of-memory` when it exceeds `maxBufferSize`; a failing allocation surfaces in `guard`.
   */
  createBuffer(bytes: number, usage: number, label: string): GPUBuffer {
    return this.buffers.create(bytes, usage, label);
  }

  /** Frees a buffer of `createBuffer`, and the bind groups that hold it. Calling it twice is allowed. */
  destroyBuffer(buffer: GPUBuffer): void {
    this.buffers.destroy(buffer);
  }

  /** A tensor with a buffer of its own, zeroed. The caller destroys it. */
  tensor(shape: readonly number[], label: string, dtype: TensorType = "f32"): Tensor {
    const buffer = this.buffers.create(bytesOf(shape), STORAGE_USAGE, label);
    this.ledger.handOut(buffer, label, this.ledger.origin());
    return new Tensor(this, buffer, shape, dtype);
  }

  /** The same for a result that will be written whole: contents undefined, and its buffer is kept for the next like it. */
  result(shape: readonly number[], label: string): Tensor {
    const buffer = this.reuseCache.acquire(bytesOf(shape), STORAGE_USAGE, label);
    this.ledger.handOut(buffer, label, this.ledger.originOfPass());
    return new Tensor(this, buffer, shape, "f32", (used) => this.reuseCache.release(used));
  }

  /** A tensor holding `data`. The caller destroys it. */
  tensorFrom(data: Float32Array | Uint32Array, shape: readonly number[], label: string): Tensor {
    const tensor = this.tensor(shape, label, data instanceof Uint32Array ? "u32" : "f32");
    this.device.queue.writeBuffer(tensor.buffer, 0, data as Float32Array<ArrayBuffer>);
    return tensor;
  }

  /** The same for what belongs to a model and ends with it: no result that somebody may forget. */
  constant(data: Float32Array | Uint32Array, shape: readonly number[], label: string): Tensor {
    const tensor = this.tensorFrom(data, shape, label);
    this.ledger.takeBack(tensor.buffer);
    return tensor;
  }

  /** The uniform buffer for the parameters of one submission, at least `bytes` long. */
  paramArena(bytes: number): GPUBuffer {
    return this.#memory.params.get(bytes);
  }

  /** Frees the buffers that are kept for reuse. */
  trim(): void {
    this.#memory.trim();
  }

  /** Lets `peakBytes` begin again at what is alive now. */
  resetPeak(): void {
    this.buffers.resetPeak();
  }

  /**
   * Runs `work` and waits for the GPU's verdict on it.
   * @throws GpuError `gpu/out-of-memory`, `gpu/validation` or `gpu/device-lost`, naming `what`.
   */
  guard<T>(what: string, work: () => T | Promise<T>): Promise<T> {
    return this.core.guard(what, work);
  }

  /**
   * Runs `work` with every dispatch timed, and tells what each kernel took. `work` is slower than otherwise.
   * @throws GpuError `gpu/no-timestamps` when the device has no timestamp queries.
   */
  async profile(work: () => Promise<void>): Promise<Map<string, KernelTime>> {
    const profiler = new Profiler(this.host, this.buffers);
    this.profiler = profiler;
    try {
      await work();
    } finally {
      this.profiler = undefined;
      await profiler.finish();
    }
    return profiler.times;
  }

  /**
   * Resolves when everything submitted so far has run.
   * @throws GpuError `gpu/device-lost` when the device ends before.
   */
  idle(): Promise<void> {
    return this.core.idle();
  }

  /** `destroy`, once nothing is compiled and nothing runs any more: Dawn's blocks as long as something does. */
  async destroyWhenIdle(): Promise<void> {
    await this.pipelines.settled();
    await this.idle().catch(() => undefined); // lost: destroyed by others
    this.destroy();
  }

  /**
   * Ends the device when nobody holds this object any more, which everything on it does; the driver would keep it. For
   * devices that nobody else was given. The console hears of it unless `quiet`.
   */
  endWhenForgotten(owner: string, quiet = false): void {
    this.core.endWhenForgotten(owner, quiet);
  }

  /**
   * Ends the device. What is pending on it fails with `gpu/device-lost`, and so does every later use of its tensors. Calling
   * it twice is allowed.
   */
  destroy(): void {
    this.trim();
    this.core.destroy();
  }

  /** The end of a `using` block. */
  [Symbol.dispose](): void {
    this.destroy();
  }
}

const bytesOf = (shape: readonly number[]) => 4 * shape.reduce((product, size) => product * size, 1);
