/**
 * A device, what went wrong on it, and whether it is still there. Everything else on a GPU is built on this.
 *
 * WebGPU reports most failures asynchronously and to nobody in particular. `guard` brackets a piece of work with error
 * scopes, so that an out-of-memory or validation error surfaces at the call that caused it. An error that belongs to no
 * call waits for the next `check`.
 */
import { GpuError, SuperlensError } from "../errors.ts";
import { warn } from "./warn.ts";

/** Devices to end when their core is collected, and whose they are. */
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

export class DeviceCore {
  #lost: GpuError | undefined;
  #isDestroyed = false;
  #stopListening: () => void;
  /** An error that no call has heard of yet. */
  #unclaimed: GpuError | undefined;
  /** Resolve when the device has said whether it had memory for a buffer. */
  #allocations: Promise<unknown>[] = [];
  #whenLost: (() => void)[] = [];

  constructor(
    readonly device: GPUDevice,
    readonly limits: GPUSupportedLimits,
  ) {
    this.#stopListening = this.#listen();
  }

  /**
   * Listens for errors and for the device's end, until the returned function is called. The device keeps its listeners and its
   * promises, and they keep what they refer to. So they refer to this object only weakly.
   */
  #listen(): () => void {
    const { device } = this;
    const self = new WeakRef(this);
    const tell = (note: (core: DeviceCore) => void) => {
      const core = self.deref();
      if (core) note(core);
    };
    const onError = (event: Event) =>
      tell((core) => core.report(toGpuError((event as GPUUncapturedErrorEvent).error, "outside any operation")));
    void device.lost.then((info) => tell((core) => core.#noteLoss(info)));
    device.addEventListener("uncapturederror", onError);
    return () => device.removeEventListener("uncapturederror", onError);
  }

  /** Keeps an error for the next `check`, unless another waits for it already. */
  report(error: GpuError): void {
    this.#unclaimed ??= error;
  }

  #noteLoss({ reason, message }: Pick<GPUDeviceLostInfo, "reason" | "message">): void {
    this.#lost ??= new GpuError(
      "gpu/device-lost",
      `The GPU device was lost (${reason}): ${message || "no message"}. Request a new one and load the model again.`,
    );
    for (const hear of this.#whenLost.splice(0)) hear();
    this.#stopListening();
    forgottenDevices.unregister(this);
  }

  /** Calls `hear` when the device is lost or destroyed. */
  whenLost(hear: () => void): void {
    this.#whenLost.push(hear);
  }

  /** Throws when the device is gone, or when an earlier error belonged to no operation. */
  check(): void {
    if (this.#lost) throw this.#lost;
    if (this.#unclaimed) {
      const error = this.#unclaimed;
      this.#unclaimed = undefined;
      throw error;
    }
  }

  /** Makes a buffer. `onFailure` hears of it when the device had no memory, before a `guard` that is running ends. */
  allocate(descriptor: GPUBufferDescriptor, onFailure: (buffer: GPUBuffer) => void): GPUBuffer {
    this.device.pushErrorScope("out-of-memory");
    const buffer = this.device.createBuffer(descriptor);
    this.#allocations.push(this.#popScope((error) => error && onFailure(buffer)));
    return buffer;
  }

  /** What `take` makes of the innermost scope's error; undefined when the device is lost, which is reported as such. */
  #popScope<T>(take: (error: GPUError | null) => T): Promise<T | undefined> {
    return this.device.popErrorScope().then(take, () => undefined);
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

  /**
   * Resolves when everything submitted so far has run.
   * @throws GpuError `gpu/device-lost` when the device ends before.
   */
  async idle(): Promise<void> {
    await this.guard("waiting for the GPU", () => this.device.queue.onSubmittedWorkDone());
  }

  /** Ends the device when nobody holds this object any more. The console hears of it unless `quiet`. */
  endWhenForgotten(owner: string, quiet: boolean): void {
    const stop = this.#stopListening;
    const { device } = this;
    const end = () => {
      stop();
      device.destroy();
    };
    forgottenDevices.register(this, { end, owner, quiet }, this);
  }

  /** Ends the device. What is pending on it fails with `gpu/device-lost`. Calling it twice is allowed. */
  destroy(): void {
    if (this.#isDestroyed) return;
    this.#isDestroyed = true;
    this.#noteLoss({ reason: "destroyed", message: "it was destroyed" });
    this.device.destroy();
  }
}

function toGpuError(error: GPUError, what: string): GpuError {
  const outOfMemory = error.constructor.name === "GPUOutOfMemoryError";
  return outOfMemory
    ? new GpuError("gpu/out-of-memory", `The GPU ran out of memory during ${what}: ${error.message}`)
    : new GpuError("gpu/validation", `The GPU rejected ${what}: ${error.message}`);
}
