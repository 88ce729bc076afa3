/**
 * Loads the weights to the GPU, as planned. All memory is allocated first, so a model that does not fit is refused before its
 * weights are read. Then rows are read, brought into the layout of the plan, written and dropped.
 */
import { abortable } from "../../abort.ts";
import type { Checkpoint } from "../../checkpoint/index.ts";
import type { Gpu } from "../../gpu/gpu.ts";
import type { BufferSlice } from "../../gpu/recorder.ts";
import { Tensor } from "../../gpu/tensor.ts";
import { STORAGE_USAGE } from "../../gpu/usage.ts";
import type { Matrix } from "../../kernels/matrix.ts";
import type { ModelSpec } from "../spec.ts";
import { PieceReader, type ReadOptions } from "./pieces.ts";
import { type PlannedMatrix, type PlannedWeight, planWeights } from "./plan.ts";
import { type KeptWhere, planResidency } from "./residency.ts";
import { LayerStream } from "./stream.ts";
import type { Weights } from "./weights.ts";
import { Writer } from "./writer.ts";

/** Staging copies of the driver that may wait to be written, while a model is loaded. */
const DRAIN_BYTES = 64 << 20;

/**
 * Loads every weight the spec names, or those that stay on the GPU: others are then streamed from the checkpoint, which the weights close
 * when they are freed. The spec is the one that `fitCheckpoint` returns.
 * @throws CheckpointError what `findWeight` throws, and `checkpoint/not-finite`, naming the tensor; InputError
 * `input/resident-bytes`; GpuError when memory runs out. Nothing stays on the GPU then.
 */
export async function loadWeights(
  gpu: Gpu,
  spec: ModelSpec,
  checkpoint: Checkpoint,
  options: ReadOptions & KeptWhere = {},
): Promise<Weights> {
  const plan = planWeights(spec, checkpoint, gpu.limits, options);
  const residency =
    options.residency === "streamed" ? planResidency(plan, spec.nLayers, options.residentBytes) : undefined;
  const buffers: GPUBuffer[] = [];
  const createBuffer = (bytes: number, label: string): GPUBuffer => {
    const buffer = gpu.createBuffer(bytes, STORAGE_USAGE, label);
    buffers.push(buffer);
    return buffer;
  };
  // Nobody waits for the GPU's verdict once the load is aborted: what it allocates is in `buffers` by then.
  const guard = <T>(what: string, work: () => T | Promise<T>) => abortable(gpu.guard(what, work), options.signal);
  const stays = ({ pieces, matrix }: PlannedWeight): BufferSlice[] =>
    matrix.parts.map(({ bytes }) => ({ buffer: createBuffer(bytes, pieces[0]?.info.name as string) }));
  try {
    const { stream, placed } = await guard("allocating the weights", () => {
      const stream =
        residency && residency.streamed.length > 0
          ? new LayerStream(gpu, checkpoint, plan, residency, options, createBuffer)
          : undefined;
      const placed = plan.map((planned): PlacedWeight => {
        const streamed = stream?.slicesOf(planned);
        return { planned, slices: streamed ?? stays(planned), isStreamed: streamed !== undefined };
      });
      return { stream, placed };
    });
    await fill(gpu, placed, checkpoint, options);
    await guard("loading the weights", () => gpu.device.queue.onSubmittedWorkDone());
    return { ...assemble(gpu, spec, placed), ...(stream && { stream }) };
  } catch (error) {
    for (const buffer of buffers) gpu.destroyBuffer(buffer);
    throw error;
  }
}

interface PlacedWeight {
  readonly planned: PlannedWeight;
  /** Where its parts lie. */
  readonly slices: readonly BufferSlice[];
  readonly isStreamed: boolean;
}

/** Writes what stays on the GPU. What is streamed is read where it has to be checked. */
async function fill(
  gpu: Gpu,
  placed: readonly PlacedWeight[],
  checkpoint: Checkpoint,
  options: ReadOptions,
): Promise<void> {
  const reader = new PieceReader(checkpoint, options);
  const writer = new Writer(gpu, DRAIN_BYTES, options.signal);
  for (const { planned, slices, isStreamed } of placed) {
    if (isStreamed && !options.checkFinite) continue;
    for await (const rows of reader.rowsOf(planned)) if (!isStreamed) await writer.write(planned.matrix, slices, rows);
  }
}

/** Matrices and vectors at their places. A tied head is the embedding. */
function assemble(gpu: Gpu, spec: ModelSpec, placed: readonly PlacedWeight[]): Weights {
  const blocks = spec.layers.map((): Record<string, unknown> => ({}));
  const weights: Record<string, unknown> = { blocks };
  for (const { planned, slices } of placed) {
    const { place, isVector, layer, matrix } = planned;
    const [field, part] = place.split(".") as [string, string?];
    const holder = layer === undefined ? weights : (blocks[layer] as (typeof blocks)[number]);
    const value = isVector
      ? new Tensor(gpu, (slices[0] as BufferSlice).buffer, [matrix.outWidth * matrix.width])
      : withSlices(matrix, slices);
    holder[field] = part === undefined ? value : { ...(holder[field] as object | undefined), [part]: value };
  }
  const planned = placed.map((each) => each.planned);
  return { W_U: weights.W_E, ...weights, planned } as unknown as Weights;
}

function withSlices(matrix: PlannedMatrix, slices: readonly BufferSlice[]): Matrix {
  return { ...matrix, parts: matrix.parts.map((part, index) => ({ ...part, ...(slices[index] as BufferSlice) })) };
}
