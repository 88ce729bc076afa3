/**
 * A recording that is kept. Decoding runs the same dispatches for every token, so they are recorded once. Pipelines, bind
 * groups and parameters are resolved then. A run only encodes and submits them; it makes no buffer and little garbage.
 */
import { type Command, encodeCommands } from "./commands.ts";
import type { Gpu } from "./gpu.ts";
import { Readback } from "./readback.ts";
import type { Tensor } from "./tensor.ts";

/** What a program holds on to until it is destroyed. */
interface Holdings {
  params: GPUBuffer;
  temporaries: GPUBuffer[];
  uploads: GPUBuffer[];
}

export class Program {
  #destroyed = false;

  constructor(
    private readonly gpu: Gpu,
    private readonly label: string,
    private readonly commands: readonly Command[],
    private readonly holdings: Holdings,
  ) {}

  /** Dispatches of a run. */
  get dispatches(): number {
    return this.commands.length;
  }

  /** Submits one run, and resolves with the bytes of `tensor` after it. Runs may overlap: they execute in order. */
  run(tensor: Tensor): Promise<ArrayBuffer> {
    const { gpu } = this;
    const readback = new Readback(gpu, tensor.buffer, 0, tensor.length * 4);
    return gpu.guard(this.label, async () => {
      const encoder = gpu.device.createCommandEncoder();
      encodeCommands(gpu, encoder, this.label, this.commands);
      readback.encode(encoder);
      gpu.device.queue.submit([encoder.finish()]);
      gpu.counters.submits += 1;
      await readback.finish();
      return readback.bytes;
    });
  }

  /** Gives its buffers back. Runs that were submitted still finish. */
  destroy(): void {
    if (this.#destroyed) return;
    this.#destroyed = true;
    const { params, temporaries, uploads } = this.holdings;
    this.gpu.buffers.destroy(params);
    for (const buffer of temporaries.reverse()) this.gpu.pool.release(buffer);
    for (const buffer of uploads.reverse()) this.gpu.uploads.release(buffer);
  }
}
