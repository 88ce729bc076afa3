/**
 * Blocks whose matrices are read again in each pass. They take turns in windows of GPU memory. What a window holds is replaced in
 * the order of the queue: a write waits for the passes that were submitted before it, and those behind it find what it wrote.
 * So the next block is read and written while the GPU runs this one.
 *
 * A block is brought to its window and read from there without anything in between (`use`). Any number of passes may therefore run at
 * once, and one may begin in another's callback: each finds its own weights, if at the price of reading them again.
 */
import type { Checkpoint } from "../../checkpoint/index.ts";
import { InputError } from "../../errors.ts";
import type { Gpu } from "../../gpu/gpu.ts";
import type { BufferSlice } from "../../gpu/recorder.ts";
import type { Streamed } from "../../gpu/submission.ts";
import { PieceReader, type ReadOptions } from "./pieces.ts";
import type { PlannedPart, PlannedWeight } from "./plan.ts";
import { bufferBytes, matricesOf, type Residency } from "./residency.ts";
import { Writer } from "./writer.ts";

interface Window {
  readonly buffers: readonly GPUBuffer[];
  /** The block that lies there whole. */
  held: number | undefined;
  /** Resolves when the GPU has run what was submitted with it. */
  free: Promise<unknown>;
}

interface Block {
  readonly window: Window;
  readonly weights: readonly PlannedWeight[];
}

export class LayerStream {
  readonly #gpu: Gpu;
  readonly #checkpoint: Checkpoint;
  readonly #options: ReadOptions;
  readonly #blocks = new Map<number, Block>();
  readonly #slices = new Map<PlannedPart, BufferSlice>();
  /** The last in the queue of those who read or use a window. */
  #last: Promise<unknown> = Promise.resolve();
  #isClosed = false;
  /** Blocks that were read so far, each time counted. */
  #reads = 0;

  /** `createBuffer` allocates the windows. The stream closes the checkpoint. */
  constructor(
    gpu: Gpu,
    checkpoint: Checkpoint,
    plan: readonly PlannedWeight[],
    residency: Residency,
    options: ReadOptions,
    createBuffer: (bytes: number, label: string) => GPUBuffer,
  ) {
    this.#gpu = gpu;
    this.#checkpoint = checkpoint;
    this.#options = options;
    const windows = Array.from({ length: residency.windows }, (_, index): Window => {
      const label = `window ${index} of streamed weights`;
      const buffers = residency.window.map((bytes) => createBuffer(bytes, label));
      return { buffers, held: undefined, free: Promise.resolve() };
    });
    residency.streamed.forEach((layer, index) => {
      const window = windows[index % windows.length] as Window;
      const weights = matricesOf(plan, layer);
      this.#blocks.set(layer, { window, weights });
      const streamed: Streamed = {
        order: layer,
        use: (submit) => this.#use(layer, submit),
        prefetch: () => this.#prefetch(layer),
      };
      // The largest part takes the largest buffer, as planned.
      const parts = weights.flatMap(({ matrix }) => matrix.parts);
      const falling = parts.sort((a, b) => bufferBytes(b) - bufferBytes(a));
      falling.forEach((part, at) => {
        this.#slices.set(part, { buffer: window.buffers[at] as GPUBuffer, size: bufferBytes(part), streamed });
      });
    });
  }

  /** The blocks that are streamed. */
  get layers(): number[] {
    return [...this.#blocks.keys()];
  }

  /** Blocks that were read since the model was loaded, each time counted. */
  get reads(): number {
    return this.#reads;
  }

  /** Where the parts of a matrix lie while its block is there; undefined for what stays on the GPU. */
  slicesOf({ matrix }: PlannedWeight): BufferSlice[] | undefined {
    const slices = matrix.parts.flatMap((part) => this.#slices.get(part) ?? []);
    return slices.length > 0 ? slices : undefined;
  }

  /** Reads a block to its window, unless it lies there. */
  bring(layer: number): Promise<void> {
    return this.#inTurn(() => this.#fillWindow(layer));
  }

  async #use<T>(layer: number, submit: () => T): Promise<T> {
    const { window } = this.#blocks.get(layer) as Block;
    const used = await this.#inTurn(async () => {
      await this.#fillWindow(layer);
      const result = submit();
      window.free = this.#gpu.device.queue.onSubmittedWorkDone().catch(() => undefined); // a loss is told to who submitted
      return { result }; // whoever is next need not wait for a promise
    });
    return used.result;
  }

  #prefetch(layer: number): void {
    this.bring(layer).catch(() => undefined);
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(work);
    this.#last = result.catch(() => undefined);
    return result;
  }

  async #fillWindow(layer: number): Promise<void> {
    const { window, weights } = this.#blocks.get(layer) as Block;
    this.#assertOpen();
    if (window.held === layer) return;
    window.held = undefined;
    // What is written waits in memory for the work before it. Two blocks are enough.
    await window.free;
    const reader = new PieceReader(this.#checkpoint, this.#options);
    const writer = new Writer(this.#gpu);
    for (const planned of weights) {
      const slices = this.slicesOf(planned) as BufferSlice[];
      for await (const rows of reader.rowsOf(planned)) {
        this.#assertOpen();
        await writer.write(planned.matrix, slices, rows);
      }
    }
    this.#assertOpen();
    window.held = layer;
    this.#reads += 1;
  }

  /** Resolves when nobody reads or uses a window any more. */
  async settled(): Promise<void> {
    await this.#last;
  }

  #assertOpen(): void {
    if (this.#isClosed) throw new InputError("input/model-destroyed", "The model was destroyed. Load it again.");
  }

  /** Ends reading. The windows are freed with the other weights. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    // A read that is under way ends first.
    void this.#last.then(() => this.#checkpoint.close()).catch(() => undefined);
  }
}
