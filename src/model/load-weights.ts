/**
 * From checkpoint to GPU, one piece at a time: rows of a tensor are brought into the layout of `weights.ts`, written to the
 * GPU and dropped, so that JavaScript never holds more than a few pieces.
 */
import { abortable } from "../abort.ts";
import { type Checkpoint, toFloat32 } from "../checkpoint/index.ts";
import type { Gpu } from "../gpu/gpu.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { STORAGE_USAGE } from "../gpu/usage.ts";
import type { StorageType } from "../kernels/definitions.ts";
import { ELEMENT_BYTES, type Matrix, type MatrixPart, type NormWeights, rowsPerPart } from "../kernels/matrix.ts";
import type { ModelSpec, WeightName } from "./spec.ts";
import { commonStorage, toStorage } from "./storage.ts";
import { countRows, type Piece, PieceReader, type ReadOptions } from "./weight-pieces.ts";
import { weightShape } from "./weight-shapes.ts";
import type { BlockWeights, Weights } from "./weights.ts";

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
  const loader = new WeightLoader(gpu, spec, checkpoint, options);
  try {
    return await loader.load();
  } catch (error) {
    loader.destroy();
    throw error;
  }
}

/** Elements of a row in memory, a multiple of four. */
const padded = (elements: number) => Math.ceil(elements / 4) * 4;

class WeightLoader {
  #buffers: GPUBuffer[] = [];
  #undrained = 0;
  readonly #reader: PieceReader;

  constructor(
    private readonly gpu: Gpu,
    private readonly spec: ModelSpec,
    checkpoint: Checkpoint,
    private readonly options: ReadOptions,
  ) {
    this.#reader = new PieceReader(spec, checkpoint, options);
  }

  destroy(): void {
    for (const buffer of this.#buffers) this.gpu.destroyBuffer(buffer);
    this.#buffers = [];
  }

  async load(): Promise<Weights> {
    const { spec } = this;
    const W_E = await this.#linear("embed.W_E");
    const blocks: BlockWeights[] = [];
    for (let layer = 0; layer < spec.nLayers; layer++) blocks.push(await this.#block(layer));
    // In f32 like a vector, so that one kernel adds it to an embedding of any type.
    const W_pos = spec.positions.kind === "learned" ? await this.#linear("embed.W_pos", "f32") : undefined;
    const embedNorm = await this.#norm("embed.norm");
    const lnFinal = await this.#norm("lnFinal");
    const W_U = spec.unembed.tied ? W_E : await this.#linear("unembed.W_U");
    const b_U = await this.#vector("unembed.b_U");
    await this.#guard("loading the weights", () => this.gpu.device.queue.onSubmittedWorkDone());
    return { W_E, W_pos, embedNorm, blocks, lnFinal, W_U, b_U } as Weights;
  }

  /** `gpu.guard`, which nobody waits for once the load is aborted: what it allocates is in `#buffers` by then. */
  #guard<T>(what: string, work: () => T | Promise<T>): Promise<T> {
    return abortable(this.gpu.guard(what, work), this.options.signal);
  }

  async #block(layer: number): Promise<BlockWeights> {
    const { mlp } = this.spec;
    // One after the other: a failure must find nothing under way that would still allocate.
    const block: BlockWeights = {
      ln1: await this.#norm("ln1", layer),
      ln1Post: await this.#norm("ln1Post", layer),
      ln2: await this.#norm("ln2", layer),
      ln2Post: await this.#norm("ln2Post", layer),
      qkv: await this.#stack(["attn.W_Q", "attn.W_K", "attn.W_V"], layer),
      qkvBias: await this.#stackVectors(["attn.b_Q", "attn.b_K", "attn.b_V"], layer),
      qNorm: await this.#norm("attn.qNorm", layer),
      kNorm: await this.#norm("attn.kNorm", layer),
      W_O: await this.#stack(["attn.W_O"], layer),
      b_O: await this.#vector("attn.b_O", layer),
    };
    if (mlp.absent) return block;
    if (mlp.kind === "gated") {
      block.W_gate = await this.#stack(["mlp.W_gate"], layer);
      block.b_gate = await this.#vector("mlp.b_gate", layer);
    }
    block.W_in = await this.#stack(["mlp.W_in"], layer);
    block.b_in = await this.#vector("mlp.b_in", layer);
    block.W_out = await this.#stack(["mlp.W_out"], layer);
    block.b_out = await this.#vector("mlp.b_out", layer);
    return block;
  }

  async #norm(
    name: "ln1" | "ln1Post" | "ln2" | "ln2Post" | "lnFinal" | "embed.norm" | "attn.qNorm" | "attn.kNorm",
    layer = 0,
  ): Promise<NormWeights | undefined> {
    const w = await this.#vector(`${name}.w`, layer);
    const b = await this.#vector(`${name}.b`, layer);
    return w || b ? { ...(w && { w }), ...(b && { b }) } : undefined;
  }

  /** A matrix that the whole model shares, as [out, in] however it is stored. */
  #linear(name: WeightName, storage?: StorageType): Promise<Matrix> {
    return this.#upload([this.#matrix(name, 0)], storage);
  }

  /** Matrices of a block stacked by rows, all of the same width. */
  #stack(names: readonly WeightName[], layer: number): Promise<Matrix> {
    const pieces = names.map((name) => this.#matrix(name, layer));
    return this.#staysConv1d(pieces) ? this.#uploadConv1d(pieces) : this.#upload(pieces);
  }

  /** `validateSpec` has seen to it that a matrix the model needs is in the spec and not optional. */
  #matrix(name: WeightName, layer: number): Piece {
    return this.#reader.piece(name, layer) as Piece;
  }

  /** Whether a block's matrix keeps the layout [in, out] it is stored in: all of it has it, in one type and one binding. */
  #staysConv1d(pieces: readonly Piece[]): boolean {
    const [{ width }] = pieces as [Piece, ...Piece[]];
    const dtypes = new Set(pieces.map(({ info }) => info.dtype));
    if (dtypes.size > 1 || !pieces.every(({ source }) => source.transpose)) return false;
    const storage = commonStorage([...dtypes]);
    const rowBytes = padded(countRows(pieces)) * ELEMENT_BYTES[storage];
    return width <= rowsPerPart(this.gpu, rowBytes);
  }

  /** Pieces [in, out] beside each other, [in, all out]; what lies in one tensor is read once. */
  async #uploadConv1d(pieces: readonly Piece[]): Promise<Matrix> {
    const [first] = pieces as [Piece, ...Piece[]];
    const storage = commonStorage([first.info.dtype]);
    const outWidth = countRows(pieces);
    const stride = padded(outWidth);
    const rowBytes = stride * ELEMENT_BYTES[storage];
    const { width } = first;
    const { name, dtype } = first.info;
    const [part] = await this.#guard(`allocating ${name}`, () => this.#allocate(width, rowBytes, name));
    let row = 0;
    for await (const { bytes, rows } of this.#reader.besideEachOther(pieces)) {
      await this.#writeRows(part as MatrixPart, row, rowBytes, toStorage(bytes, dtype, storage, outWidth, stride));
      row += rows;
    }
    const parts = [{ ...(part as MatrixPart), rows: outWidth }];
    return { outWidth, width, layout: "conv1d", stride, storage, parts };
  }

  async #upload(
    pieces: readonly Piece[],
    storage: StorageType = commonStorage(pieces.map((piece) => piece.info.dtype)),
  ): Promise<Matrix> {
    const [{ width, info }] = pieces as [Piece, ...Piece[]];
    const outWidth = countRows(pieces);
    const stride = padded(width);
    const rowBytes = stride * ELEMENT_BYTES[storage];
    const parts = await this.#guard(`allocating ${info.name}`, () => this.#allocate(outWidth, rowBytes, info.name));
    const matrix: Matrix = { outWidth, width, layout: "linear", stride, storage, parts };
    let row = 0;
    for (const piece of pieces) {
      for await (const { bytes, rows } of this.#reader.rowsOf(piece)) {
        await this.#write(matrix, row, rows, toStorage(bytes, piece.info.dtype, storage, width, stride));
        row += rows;
      }
    }
    return matrix;
  }

  #allocate(rows: number, rowBytes: number, label: string): MatrixPart[] {
    const perPart = rowsPerPart(this.gpu, rowBytes);
    const parts: MatrixPart[] = [];
    for (let firstRow = 0; firstRow < rows; firstRow += perPart) {
      const here = Math.min(perPart, rows - firstRow);
      const buffer = this.gpu.createBuffer(here * rowBytes, STORAGE_USAGE, label);
      this.#buffers.push(buffer);
      parts.push({ buffer, firstRow, rows: here });
    }
    return parts;
  }

  async #write(matrix: Matrix, firstRow: number, rows: number, bytes: Uint8Array): Promise<void> {
    const rowBytes = matrix.stride * ELEMENT_BYTES[matrix.storage];
    for (const part of matrix.parts) {
      const from = Math.max(firstRow, part.firstRow);
      const to = Math.min(firstRow + rows, part.firstRow + part.rows);
      if (from >= to) continue;
      const slice = bytes.subarray((from - firstRow) * rowBytes, (to - firstRow) * rowBytes);
      await this.#writeRows(part, from - part.firstRow, rowBytes, slice);
    }
  }

  async #writeRows({ buffer }: MatrixPart, firstRow: number, rowBytes: number, bytes: Uint8Array): Promise<void> {
    this.gpu.device.queue.writeBuffer(buffer, firstRow * rowBytes, bytes as Uint8Array<ArrayBuffer>);
    this.#undrained += bytes.byteLength;
    if (this.#undrained < DRAIN_BYTES) return;
    this.#undrained = 0;
    await abortable(this.gpu.device.queue.onSubmittedWorkDone(), this.options.signal);
  }

  async #vectorValues(weight: WeightName, layer: number): Promise<Float32Array | undefined> {
    const piece = this.#reader.piece(weight, layer);
    if (!piece) return undefined;
    const values = new Float32Array(countRows([piece]));
    let at = 0;
    for await (const { bytes, rows } of this.#reader.rowsOf(piece)) {
      values.set(toFloat32(bytes, piece.info.dtype), at);
      at += rows;
    }
    return values;
  }

  async #vector(weight: WeightName, layer = 0): Promise<Tensor | undefined> {
    const values = await this.#vectorValues(weight, layer);
    return values && this.#uploadVector(values, weight);
  }

  /** Vectors end to end; absent ones are zeros, and nothing when all are absent. */
  async #stackVectors(names: readonly WeightName[], layer: number): Promise<Tensor | undefined> {
    const vectors = await Promise.all(names.map((name) => this.#vectorValues(name, layer)));
    if (vectors.every((vector) => vector === undefined)) return undefined;
    const lengths = names.map((name) => weightShape(this.spec, name, layer)[0] as number);
    const stacked = new Float32Array(lengths.reduce((sum, length) => sum + length, 0));
    let at = 0;
    vectors.forEach((vector, index) => {
      if (vector) stacked.set(vector, at);
      at += lengths[index] as number;
    });
    return this.#uploadVector(stacked, names.join("+"));
  }

  #uploadVector(values: Float32Array, label: string): Tensor {
    const tensor = this.gpu.constant(values, [values.length], label);
    this.#buffers.push(tensor.buffer);
    return tensor;
  }
}
