/**
 * Loads the weights to the GPU, as planned. All memory is allocated first, so a model that does not fit is refused before its
 * weights are read. Then rows are read, brought into the layout of the plan, written and dropped.
 */
import { abortable } from "../../abort.ts";
import type { Checkpoint } from "../../checkpoint/index.ts";
import type { Gpu } from "../../gpu/gpu.ts";
import { Tensor } from "../../gpu/tensor.ts";
import { STORAGE_USAGE } from "../../gpu/usage.ts";
import type { Matrix } from "../../kernels/matrix.ts";
import { ELEMENT_BYTES } from "../../kernels/storage.ts";
import type { ModelSpec } from "../spec.ts";
import { PieceReader, type ReadOptions, type Rows } from "./pieces.ts";
import { type PlannedMatrix, type PlannedWeight, planWeights } from "./plan.ts";
import { toStorage } from "./storage.ts";
import type { Weights } from "./weights.ts";

/** The queue is drained after this much, or the driver's staging copies would add up to the size of the model. */
const DRAIN_BYTES = 64 << 20;

/**
 * Loads every weight the spec names. The spec is the one that `fitCheckpoint` returns.
 * @throws CheckpointError what `findWeight` throws, and `checkpoint/not-finite`, naming the tensor; GpuError when memory
 * runs out. Nothing stays on the GPU then.
 */
export async function loadWeights(
  gpu: Gpu,
  spec: ModelSpec,
  checkpoint: Checkpoint,
  options: ReadOptions = {},
): Promise<Weights> {
  const plan = planWeights(spec, checkpoint, gpu.limits, options);
  const buffers: GPUBuffer[][] = [];
  // Nobody waits for the GPU's verdict once the load is aborted: what it allocates is in `buffers` by then.
  const guard = <T>(what: string, work: () => T | Promise<T>) => abortable(gpu.guard(what, work), options.signal);
  try {
    await guard("allocating the weights", () => {
      for (const planned of plan) buffers.push(allocate(gpu, planned));
    });
    const reader = new PieceReader(checkpoint, options);
    const writer = new Writer(gpu, options.signal);
    for (const [index, planned] of plan.entries()) {
      const { matrix } = planned;
      for await (const rows of reader.rowsOf(planned)) await writer.write(matrix, buffers[index] as GPUBuffer[], rows);
    }
    await guard("loading the weights", () => gpu.device.queue.onSubmittedWorkDone());
    return assemble(gpu, spec, plan, buffers);
  } catch (error) {
    for (const buffer of buffers.flat()) gpu.destroyBuffer(buffer);
    throw error;
  }
}

function allocate(gpu: Gpu, { pieces, matrix }: PlannedWeight): GPUBuffer[] {
  return matrix.parts.map(({ bytes }) => gpu.createBuffer(bytes, STORAGE_USAGE, pieces[0]?.info.name as string));
}

class Writer {
  #undrained = 0;

  constructor(
    private readonly gpu: Gpu,
    private readonly signal: AbortSignal | undefined,
  ) {}

  /** Writes rows to the parts of a matrix that hold them. */
  async write(matrix: PlannedMatrix, buffers: readonly GPUBuffer[], { firstRow, bytes, dtype }: Rows): Promise<void> {
    const { layout, outWidth, width, stride, parts } = matrix;
    // Rows are of one tensor, and parts of several storages end where a tensor does.
    const storage = parts.find((part) => firstRow < part.firstRow + part.rows)?.storage ?? matrix.storage;
    const rowBytes = stride * ELEMENT_BYTES[storage];
    const stored = toStorage(bytes, dtype, storage, layout === "conv1d" ? outWidth : width, stride);
    const start = firstRow * rowBytes;
    for (const [index, part] of parts.entries()) {
      const partStart = part.firstRow * rowBytes;
      const from = Math.max(start, partStart);
      const to = Math.min(start + stored.byteLength, partStart + part.bytes);
      if (from >= to || (part.storage ?? matrix.storage) !== storage) continue;
      const slice = stored.subarray(from - start, to - start) as Uint8Array<ArrayBuffer>;
      this.gpu.device.queue.writeBuffer(buffers[index] as GPUBuffer, from - partStart, slice);
    }
    await this.#drain(stored.byteLength);
  }

  async #drain(written: number): Promise<void> {
    this.#undrained += written;
    if (this.#undrained < DRAIN_BYTES) return;
    this.#undrained = 0;
    await abortable(this.gpu.device.queue.onSubmittedWorkDone(), this.signal);
  }
}

/** Matrices and vectors at their places. A tied head is the embedding. */
function assemble(gpu: Gpu, spec: ModelSpec, plan: readonly PlannedWeight[], buffers: GPUBuffer[][]): Weights {
  const blocks = spec.layers.map((): Record<string, unknown> => ({}));
  const weights: Record<string, unknown> = { blocks };
  for (const [index, { place, isVector, layer, matrix }] of plan.entries()) {
    const [field, part] = place.split(".") as [string, string?];
    const holder = layer === undefined ? weights : (blocks[layer] as (typeof blocks)[number]);
    const own = buffers[index] as GPUBuffer[];
    const value = isVector
      ? new Tensor(gpu, own[0] as GPUBuffer, [matrix.outWidth * matrix.width])
      : withBuffers(matrix, own);
    holder[field] = part === undefined ? value : { ...(holder[field] as object | undefined), [part]: value };
  }
  return { W_U: weights.W_E, ...weights, planned: plan } as unknown as Weights;
}

function withBuffers(matrix: PlannedMatrix, buffers: readonly GPUBuffer[]): Matrix {
  return { ...matrix, parts: matrix.parts.map((part, index) => ({ ...part, buffer: buffers[index] as GPUBuffer })) };
}
