/**
 * Memory in float32 for what lies as weights do: their gradients, and an optimizer's moments. The numbers of many tensors lie
 * one after another in a few buffers, each as long as a kernel may bind. So one dispatch goes over all of them, and a
 * tensor is a slice. Between tensors are zeros, which nobody writes.
 */
import type { Gpu } from "../../gpu/gpu.ts";
import { STORAGE_USAGE } from "../../gpu/usage.ts";
import type { InMemory } from "./tensors.ts";

/** Slices begin at multiples of so many bytes, as bindings must on every adapter. */
export const SLICE_BYTES = 256;

/** No buffer takes several tensors beyond this size, so that memory need not be free in longer pieces. */
const LONGEST_BYTES = 128 << 20;

/** A tensor as it is planned in float32. */
type Planned = Pick<InMemory, "planned" | "matrix">;

/** A slice with its buffer's number. */
interface Place {
  readonly buffer: number;
  readonly offset: number;
  readonly size: number;
}

export class FlatMemory {
  /** The tensors, in the order of the buffers. */
  readonly held: readonly InMemory[];

  private constructor(
    private readonly gpu: Gpu,
    readonly buffers: readonly GPUBuffer[],
    private readonly placed: readonly (Planned & { readonly places: readonly Place[] })[],
  ) {
    this.held = placed.map(({ planned, matrix, places }) => ({
      planned,
      matrix,
      slices: places.map(({ buffer, ...slice }) => ({ ...slice, buffer: buffers[buffer] as GPUBuffer })),
    }));
  }

  /** Zeros for the tensors. */
  static for(gpu: Gpu, tensors: readonly Planned[], label: string): FlatMemory {
    const longest = Math.min(LONGEST_BYTES, gpu.limits.maxStorageBufferBindingSize, gpu.limits.maxBufferSize);
    const sizes: number[] = [];
    const placeOf = (bytes: number): Place => {
      const offset = Math.ceil((sizes.at(-1) ?? longest) / SLICE_BYTES) * SLICE_BYTES;
      const isNew = offset + bytes > longest;
      if (isNew) sizes.push(bytes);
      else sizes[sizes.length - 1] = offset + bytes;
      return { buffer: sizes.length - 1, offset: isNew ? 0 : offset, size: bytes };
    };
    const placed = tensors.map(({ planned, matrix }) => ({
      planned,
      matrix,
      places: matrix.parts.map(({ bytes }) => placeOf(bytes)),
    }));
    return new FlatMemory(gpu, allocate(gpu, sizes, label), placed);
  }

  /** Zeros that lie in the same way. */
  like(label: string): FlatMemory {
    const sizes = this.buffers.map(({ size }) => size);
    return new FlatMemory(this.gpu, allocate(this.gpu, sizes, label), this.placed);
  }

  /** Bytes on the GPU. */
  get byteLength(): number {
    return this.buffers.reduce((sum, { size }) => sum + size, 0);
  }

  destroy(): void {
    for (const buffer of this.buffers) this.gpu.destroyBuffer(buffer);
  }
}

/** Buffers of these sizes, or none. */
function allocate(gpu: Gpu, sizes: readonly number[], label: string): GPUBuffer[] {
  const buffers: GPUBuffer[] = [];
  try {
    for (const size of sizes) buffers.push(gpu.createBuffer(size, STORAGE_USAGE, label));
    return buffers;
  } catch (error) {
    for (const buffer of buffers) gpu.destroyBuffer(buffer);
    throw error;
  }
}
