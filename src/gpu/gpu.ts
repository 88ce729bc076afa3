/**
 * One GPU device with what every other part needs of it: buffers that are counted, errors that are typed, pipelines
 * that are compiled once, and the knowledge of whether the device is still there.
 *
 * WebGPU reports most failures asynchronously and to nobody in particular. `Gpu.guard` brackets a piece of work with
 * error scopes, so that an out-of-memory or validation error surfaces at the call that caused it.
 */
import { GpuError, SuperlensError } from "../errors.ts";
import * as s from "../schema/schema.ts";
import { newCounters } from "./counters.ts";
import type { GpuHost } from "./host.ts";
import { PipelineCache } from "./kernel.ts";
import { Ledger } from "./ledger.ts";
import { BufferPool } from "./pool.ts";
import { type KernelTime, Profiler } from "./profiler.ts";
import { Recycler } from "./recycler.ts";
import { Tensor, type TensorType } from "./tensor.ts";
import { STORAGE_USAGE, UNIFORM_AND_COPY_DST } from "./usage.ts";
import { warn } from "./warn.ts";

const HOST = s.simple<GpuHost>(
  "what requestGpu() gave",
  (value) => typeof value === "object" && value !== null && "device" in value && "limits" in value,
);

/** Devices to end when their `Gpu` is collected, and whose they are. */
const forgottenDevices = new FinalizationRegistry<{ end: () => void; owner: string; quiet: boolean }>(
  ({ end, owner, quiet }) => {
    end();
    if (quiet) return;
    warn(
      `the garbage collector found that nobody had destroyed ${owner}. It finds such things late. Call destroy(), or declare it with \`using\`.`,
    );
  },
);

/** How long a failure waits for the news that the device is lost. */
const LOSS_NEWS_MS = 100;

/**
 * A GPU device in use: makes and counts its buffers, turns its errors into `GpuError`s, and keeps its compiled
 * pipelines.
 * Made from what `requestGpu` gives. Several models can share one; then the caller destroys it after them.
 */
export class Gpu {
  readonly device: GPUDevice;
  /** The device's limits, which are the adapter's own for all that compute depends on. */
  readonly limits: GPUSupportedLimits;
  /** Compiled kernels and their bind groups. */
  readonly pipelines: PipelineCache;
  /** Temporaries of a recording. */
  readonly pool: BufferPool;
  /** Buffers filled from the host at the start of a submission. */
  readonly uploads: BufferPool;
  /** Results and readbacks, for the next of the same size. */
  readonly recycler: Recycler;
  /** A few zeros, bound where a kernel has an operand it will not read. */
  readonly zeros: Tensor;
  /** Which buffers are alive, and for what. */
  readonly ledger: Ledger;
  /** Told what a person should know about memory: results that were forgotten, or that have come to be many. */
  onNotice: (message: string) => void = warn;
  /** The most bytes that were alive at once since `resetPeak()`. */
  peakBytes = 0;
  /** The fastest kernel known for each class of work: its name by the class's key (`src/kernels/family.ts`). */
  readonly choices = new Map<string, string>();
  /** What was dispatched since the device was made. */
  readonly counters = newCounters();
  /** There while `profile` runs. */
  profiler: Profiler | undefined;
  #params: GPUBuffer | undefined;
  #nextId = 1;
  #ids = new WeakMap<GPUBuffer, number>();
  #lost: GpuError | undefined;
  #isDestroyed = false;
  #stopListening: () => void;
  #uncaptured: GpuError | undefined;
  /** Resolve when the device has said whether it had memory for a buffer. */
  #allocations: Promise<unknown>[] = [];

  constructor(readonly host: GpuHost) {
    s.readArgument(HOST, host, "Gpu", "host");
    this.device = host.device;
    this.limits = host.limits;
    this.pipelines = new PipelineCache(host.device);
    this.ledger = new Ledger({
      forget: (id) => this.pipelines.forget(id),
      trim: () => this.trim(),
      notice: (message) => void this.#notice(message),
      memoryLeft: host.memoryLeft,
    });
    this.pool = new BufferPool(this);
    this.uploads = new BufferPool(this);
    this.recycler = new Recycler(this);
    this.zeros = this.tensor([4], "zeros");
    this.#stopListening = this.#listen();
  }

  /**
   * Hears of errors and of the device's end, until the function it returns is called. A listener keeps its device, and so
   * what it refers to, for as long as it listens; a promise of the device likewise. So they know this only weakly.
   */
  #listen(): () => void {
    const { device } = this;
    const self = new WeakRef(this);
    const tell = (note: (gpu: Gpu) => void) => {
      const gpu = self.deref();
      if (gpu) note(gpu);
    };
    const onError = (event: Event) => tell((gpu) => gpu.#noteUncaptured((event as GPUUncapturedErrorEvent).error));
    void device.lost.then((info) => tell((gpu) => gpu.#noteLoss(info)));
    device.addEventListener("uncapturederror", onError);
    return () => device.removeEventListener("uncapturederror", onError);
  }

  /** A notice belongs to no call that its failure could end. */
  async #notice(message: string): Promise<void> {
    try {
      await this.onNotice(message);
    } catch (error) {
      warn(`onNotice failed: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  #noteUncaptured(error: GPUError): void {
    this.#uncaptured ??= toGpuError(error, "outside any operation");
  }

  #noteLoss({ reason, message }: Pick<GPUDeviceLostInfo, "reason" | "message">): void {
    this.#lost ??= new GpuError(
      "gpu/device-lost",
      `The GPU device was lost (${reason}): ${message || "no message"}. Request a new one and load the model again.`,
    );
    this.ledger.close();
    this.#stopListening();
    forgottenDevices.unregister(this);
  }

  /** Bytes and buffers alive now, pooled ones included. */
  get memory(): { readonly bytes: number; readonly buffers: number } {
    return this.ledger.memory;
  }

  /** Throws when the device is gone, or when an earlier error belonged to no operation. */
  check(): void {
    if (this.#lost) throw this.#lost;
    if (this.#uncaptured) {
      const error = this.#uncaptured;
      this.#uncaptured = undefined;
      throw error;
    }
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
   * A new zeroed buffer, counted in `memory`.
   * @throws GpuError `gpu/out-of-memory` when it exceeds `maxBufferSize`; a failing allocation surfaces in `guard`.
   */
  createBuffer(bytes: number, usage: GPUBufferUsageFlags, label: string): GPUBuffer {
    this.check();
    const size = Math.max(16, Math.ceil(bytes / 4) * 4);
    if (size > this.limits.maxBufferSize) {
      throw new GpuError(
        "gpu/out-of-memory",
        `${label} needs ${size} bytes in one buffer; this adapter allows ${this.limits.maxBufferSize}. Ask for fewer rows or positions at once.`,
      );
    }
    this.ledger.admit(size, label);
    this.device.pushErrorScope("out-of-memory");
    const buffer = this.device.createBuffer({ size, usage, label });
    this.#allocations.push(this.#popScope((error) => error && this.#allocationFailed(buffer)));
    this.ledger.add(buffer, this.idOf(buffer), label);
    this.peakBytes = Math.max(this.peakBytes, this.memory.bytes);
    return buffer;
  }

  /** A buffer without memory must never serve again: the pools let go of it, now or when it comes back. */
  #allocationFailed(buffer: GPUBuffer): void {
    this.#uncaptured ??= new GpuError(
      "gpu/out-of-memory",
      `The GPU has no memory for ${buffer.size} bytes (${buffer.label}) beside the ${this.memory.bytes - buffer.size} in use. Destroy caches and logits you no longer need, or use fewer or shorter sequences.`,
    );
    this.pool.evict(buffer);
    this.uploads.evict(buffer);
    this.recycler.evict(buffer);
    if (buffer === this.#params) {
      this.#params = undefined;
      this.destroyBuffer(buffer);
    }
    // What nobody holds may be what a second try needs.
    this.trim();
  }

  /** What `take` makes of the innermost scope's error; undefined when the device is lost, which is reported as such. */
  #popScope<T>(take: (error: GPUError | null) => T): Promise<T | undefined> {
    return this.device.popErrorScope().then(take, () => undefined);
  }

  /** Frees a buffer of `createBuffer`, and the bind groups that hold it. Calling it twice is allowed. */
  destroyBuffer(buffer: GPUBuffer): void {
    if (!this.ledger.remove(buffer)) return;
    this.pipelines.forget(this.idOf(buffer));
    buffer.destroy();
  }

  /** A tensor with a buffer of its own, zeroed. The caller destroys it. */
  tensor(shape: readonly number[], label: string, dtype: TensorType = "f32"): Tensor {
    const count = shape.reduce((product, size) => product * size, 1);
    const buffer = this.createBuffer(count * 4, STORAGE_USAGE, label);
    this.ledger.handOut(buffer, label, this.ledger.origin());
    return new Tensor(this, buffer, shape, dtype);
  }

  /** The same for a result that will be written whole: contents undefined, and its buffer is kept for the next like it. */
  result(shape: readonly number[], label: string): Tensor {
    const bytes = 4 * shape.reduce((product, size) => product * size, 1);
    const buffer = this.recycler.acquire(bytes, STORAGE_USAGE, label);
    this.ledger.handOut(buffer, label, this.ledger.originOfPass());
    return new Tensor(this, buffer, shape, "f32", (used) => this.recycler.release(used));
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

  /**
   * Runs `work` and waits for the GPU's verdict on it.
   * @throws GpuError `gpu/out-of-memory`, `gpu/validation` or `gpu/device-lost`, naming `what`.
   */
  async guard<T>(what: string, work: () => T | Promise<T>): Promise<T> {
    this.check();
    this.device.pushErrorScope("validation");
    this.device.pushErrorScope("out-of-memory");
    const pending = (async () => work())();
    // Nobody waits for the scopes while the work is pending, so they must not be promises that fail.
    const scopes = [this.#popScope((error) => error), this.#popScope((error) => error)];
    let result: T | undefined;
    let failure: unknown;
    try {
      result = await pending;
    } catch (error) {
      failure = error;
    }
    const errors = await Promise.all(scopes);
    await Promise.all(this.#allocations.splice(0));
    if (failure !== undefined) failure = await this.causeOf(failure);
    this.check();
    const error = errors.find((candidate) => candidate);
    if (error) throw toGpuError(error, what);
    if (failure !== undefined) throw failure;
    return result as T;
  }

  /** Why something failed: the loss of the device, which may be known only after what it makes fail, or the error itself. */
  async causeOf(failure: unknown): Promise<unknown> {
    if (!this.#lost && !(failure instanceof SuperlensError)) {
      await Promise.race([this.device.lost, new Promise((resolve) => setTimeout(resolve, LOSS_NEWS_MS))]);
    }
    return this.#lost ?? failure;
  }

  /** The uniform buffer for the parameters of one submission, at least `bytes` long; reused, since writes are ordered. */
  paramArena(bytes: number): GPUBuffer {
    if (!this.#params || this.#params.size < bytes) {
      const size = Math.max(1 << 16, 2 ** Math.ceil(Math.log2(bytes)));
      const larger = this.createBuffer(size, UNIFORM_AND_COPY_DST, "kernel parameters");
      if (this.#params) this.destroyBuffer(this.#params);
      this.#params = larger;
    }
    return this.#params;
  }

  /** Frees the buffers that are kept for reuse. */
  trim(): void {
    this.pool.trim();
    this.uploads.trim();
    this.recycler.trim();
  }

  /** Lets `peakBytes` begin again at what is alive now. */
  resetPeak(): void {
    this.peakBytes = this.memory.bytes;
  }

  /**
   * Runs `work` with every dispatch timed, and tells what each kernel took. `work` is slower than otherwise.
   * @throws GpuError `gpu/no-timestamps` when the device has no timestamp queries.
   */
  async profile(work: () => Promise<void>): Promise<Map<string, KernelTime>> {
    const profiler = new Profiler(this);
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
  async idle(): Promise<void> {
    await this.guard("waiting for the GPU", () => this.device.queue.onSubmittedWorkDone());
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
    const stop = this.#stopListening;
    const { device } = this;
    const end = () => {
      stop();
      device.destroy();
    };
    forgottenDevices.register(this, { end, owner, quiet }, this);
  }

  /**
   * Ends the device. What is pending on it fails with `gpu/device-lost`, and so does every later use of its tensors. Calling
   * it twice is allowed.
   */
  destroy(): void {
    if (this.#isDestroyed) return;
    this.#isDestroyed = true;
    this.trim();
    this.#noteLoss({ reason: "destroyed", message: "it was destroyed" });
    this.device.destroy();
  }

  [Symbol.dispose](): void {
    this.destroy();
  }
}

function toGpuError(error: GPUError, what: string): GpuError {
  const outOfMemory = error.constructor.name === "GPUOutOfMemoryError";
  return outOfMemory
    ? new GpuError("gpu/out-of-memory", `The GPU ran out of memory during ${what}: ${error.message}`)
    : new GpuError("gpu/validation", `The GPU rejected ${what}: ${error.message}`);
}
