/**
 * From checkpoint to GPU, one piece at a time: rows of a tensor are brought into the layout of `weights.ts`, written to the
 * GPU and dropped, so that JavaScript never holds more than a few pieces.
 */
import { type Checkpoint, toFloat32 } from "../checkpoint/index.ts";
import { CheckpointError, ConfigError } from "../errors.ts";
import type { Gpu } from "../gpu/gpu.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { STORAGE_USAGE } from "../gpu/usage.ts";
import { resolveEmbedding, resolveUnembed, resolveUnembedBias } from "./families/resolve.ts";
import type { StorageType } from "./kernels.ts";
import type { ModelSpec, TensorSource, WeightName } from "./spec.ts";
import { commonStorage, toStorage } from "./storage.ts";
import { countRows, type Piece, PieceReader, type ReadOptions } from "./weight-pieces.ts";
import { dMlpOf } from "./weight-shapes.ts";
import {
  type BlockWeights,
  ELEMENT_BYTES,
  type Matrix,
  type MatrixPart,
  type NormWeights,
  rowsPerPart,
  type Weights,
} from "./weights.ts";

/** The queue is drained after this much, or the driver's staging copies would add up to the size of the model. */
const DRAIN_BYTES = 64 << 20;

/**
 * Loads every weight the spec names.
 * @throws ConfigError `config/unsupported` for a width of heads that no kernel can run; CheckpointError `checkpoint/missing-tensor`,
 * `checkpoint/shape`, `checkpoint/dtype`, `checkpoint/not-finite`, naming the tensor; GpuError when memory runs out. Nothing stays on the GPU then.
 */
export async function loadWeights(
  gpu: Gpu,
  spec: ModelSpec,
  checkpoint: Checkpoint,
  options: ReadOptions = {},
): Promise<Weights> {
  assertHeads(spec, checkpoint.label);
  const loader = new WeightLoader(gpu, spec, checkpoint, options);
  try {
    return await loader.load();
  } catch (error) {
    loader.destroy();
    throw error;
  }
}

/** The attention kernels read heads as vectors of four, and hold a query of at most 1024 elements. */
function assertHeads({ dHead }: ModelSpec, label: string): void {
  if (dHead % 4 === 0 && dHead <= 1024) return;
  throw new ConfigError(
    "config/unsupported",
    `${label}: dHead = ${dHead} cannot run; it must be a multiple of 4, at most 1024. Heads may be padded with zeros, if attention.scale stays what it was.`,
  );
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
    private readonly checkpoint: Checkpoint,
    options: ReadOptions,
  ) {
    this.#reader = new PieceReader(checkpoint, options);
  }

  destroy(): void {
    for (const buffer of this.#buffers) this.gpu.destroyBuffer(buffer);
    this.#buffers = [];
  }

  async load(): Promise<Weights> {
    const { spec } = this;
    const has = (name: string) => this.checkpoint.tensors.has(name);
    const W_E = await this.#stackNamed("embed.W_E", [spec.vocabSize, spec.dModel], resolveEmbedding(spec, has));
    const blocks: BlockWeights[] = [];
    for (let layer = 0; layer < spec.nLayers; layer++) blocks.push(await this.#block(layer));
    const W_pos = spec.positions.kind === "learned" ? await this.#positions() : undefined;
    const embedNorm = await this.#norm("embed.norm", spec.dModel);
    const lnFinal = await this.#norm("lnFinal", spec.dModel);
    const W_U = spec.unembed.tied
      ? W_E
      : await this.#stackNamed("unembed.W_U", [spec.vocabSize, spec.dModel], resolveUnembed(spec, has));
    const biasName = resolveUnembedBias(spec, has);
    const b_U = biasName ? await this.#vector("unembed.b_U", spec.vocabSize, 0, biasName) : undefined;
    await this.gpu.guard("loading the weights", () => this.gpu.device.queue.onSubmittedWorkDone());
    return { W_E, W_pos, embedNorm, blocks, lnFinal, W_U, b_U } as Weights;
  }

  async #block(layer: number): Promise<BlockWeights> {
    const { spec } = this;
    const { dModel, dHead } = spec;
    const dMlp = dMlpOf(spec, layer);
    const q = spec.nHeads * dHead;
    const kv = spec.nKvHeads * dHead;
    // One after the other: a failure must find nothing under way that would still allocate.
    const block: BlockWeights = {
      ln1: await this.#norm("ln1", dModel, layer),
      ln1Post: await this.#norm("ln1Post", dModel, layer),
      ln2: await this.#norm("ln2", dModel, layer),
      ln2Post: await this.#norm("ln2Post", dModel, layer),
      qkv: await this.#stack(["attn.W_Q", "attn.W_K", "attn.W_V"], [q, kv, kv], dModel, layer),
      qkvBias: await this.#stackVectors(["attn.b_Q", "attn.b_K", "attn.b_V"], [q, kv, kv], layer),
      qNorm: await this.#norm("attn.qNorm", this.#qkNormWidth(q), layer),
      kNorm: await this.#norm("attn.kNorm", this.#qkNormWidth(kv), layer),
      W_O: await this.#stack(["attn.W_O"], [dModel], q, layer),
      b_O: await this.#vector("attn.b_O", dModel, layer),
    };
    if (spec.mlp.absent) return block;
    if (spec.mlp.kind === "gated") {
      block.W_gate = await this.#stack(["mlp.W_gate"], [dMlp], dModel, layer);
      block.b_gate = await this.#vector("mlp.b_gate", dMlp, layer);
    }
    block.W_in = await this.#stack(["mlp.W_in"], [dMlp], dModel, layer);
    block.b_in = await this.#vector("mlp.b_in", dMlp, layer);
    block.W_out = await this.#stack(["mlp.W_out"], [dModel], dMlp, layer);
    block.b_out = await this.#vector("mlp.b_out", dModel, layer);
    return block;
  }

  #qkNormWidth(width: number): number {
    return this.spec.attention.qkNorm === "head" ? this.spec.dHead : width;
  }

  async #norm(
    name: "ln1" | "ln1Post" | "ln2" | "ln2Post" | "lnFinal" | "embed.norm" | "attn.qNorm" | "attn.kNorm",
    width: number,
    layer = 0,
  ): Promise<NormWeights | undefined> {
    const w = await this.#vector(`${name}.w`, width, layer);
    const b = await this.#vector(`${name}.b`, width, layer);
    return w || b ? { ...(w && { w }), ...(b && { b }) } : undefined;
  }

  async #positions(): Promise<Matrix> {
    const { spec } = this;
    const source = { ...(spec.weights["embed.W_pos"] as TensorSource), optional: false };
    const info = this.#reader.find(source, 0) as Piece["info"];
    const needed = spec.maxPositions + (spec.positions.kind === "learned" ? spec.positions.offset : 0);
    if ((info.shape[0] as number) < needed) {
      throw new CheckpointError(
        "checkpoint/shape",
        `${info.file}: tensor ${info.name} has shape [${info.shape.join(", ")}]; config.json needs at least ${needed} rows, one a position. Config and weights must belong together.`,
      );
    }
    // In f32 like a vector, so that one kernel adds it to an embedding of any type.
    const piece = this.#reader.piece(source, 0, info.shape[0] as number, spec.dModel) as Piece;
    return this.#upload([piece], spec.dModel, "f32");
  }

  /** One matrix from a weight whose tensor name is settled already. */
  #stackNamed(weight: WeightName, [rows, width]: [number, number], name: string | undefined): Promise<Matrix> {
    const source = this.spec.weights[weight] ?? { tensor: weight };
    return this.#upload(
      [this.#reader.piece({ ...source, tensor: name ?? source.tensor }, 0, rows, width) as Piece],
      width,
    );
  }

  /** Matrices stacked by rows: `rows[i]` rows from `names[i]`, all of the same width. */
  #stack(names: readonly WeightName[], rows: readonly number[], width: number, layer: number): Promise<Matrix> {
    const pieces = names.map((name, index) => {
      const source = this.spec.weights[name] ?? { tensor: name };
      return this.#reader.piece({ ...source, optional: false }, layer, rows[index] as number, width) as Piece;
    });
    return this.#staysConv1d(pieces, width) ? this.#uploadConv1d(pieces, width) : this.#upload(pieces, width);
  }

  /** Whether a block's matrix keeps the layout [in, out] it is stored in: all of it has it, in one type and one binding. */
  #staysConv1d(pieces: readonly Piece[], width: number): boolean {
    const dtypes = new Set(pieces.map(({ info }) => info.dtype));
    if (dtypes.size > 1 || !pieces.every(({ source }) => source.transpose)) return false;
    const storage = commonStorage([...dtypes]);
    const rowBytes = padded(countRows(pieces)) * ELEMENT_BYTES[storage];
    return width <= rowsPerPart(this.gpu, rowBytes);
  }

  /** Pieces [in, out] beside each other, [in, all out]; what lies in one tensor is read once. */
  async #uploadConv1d(pieces: readonly Piece[], width: number): Promise<Matrix> {
    const [first] = pieces as [Piece, ...Piece[]];
    const storage = commonStorage([first.info.dtype]);
    const outWidth = countRows(pieces);
    const stride = padded(outWidth);
    const rowBytes = stride * ELEMENT_BYTES[storage];
    const { name, dtype } = first.info;
    const [part] = await this.gpu.guard(`allocating ${name}`, () => this.#allocate(width, rowBytes, name));
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
    width: number,
    storage: StorageType = commonStorage(pieces.map((piece) => piece.info.dtype)),
  ): Promise<Matrix> {
    const outWidth = countRows(pieces);
    const stride = padded(width);
    const rowBytes = stride * ELEMENT_BYTES[storage];
    const label = pieces[0]?.info.name ?? "weights";
    const parts = await this.gpu.guard(`allocating ${label}`, () => this.#allocate(outWidth, rowBytes, label));
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
    await this.gpu.device.queue.onSubmittedWorkDone();
  }

  async #vectorValues(
    weight: WeightName,
    length: number,
    layer: number,
    name?: string,
  ): Promise<Float32Array | undefined> {
    const source = this.spec.weights[weight];
    if (!source) return undefined;
    const piece = this.#reader.piece(name ? { ...source, tensor: name } : source, layer, length, 1);
    if (!piece) return undefined;
    const values = new Float32Array(length);
    let at = 0;
    for await (const { bytes, rows } of this.#reader.rowsOf(piece)) {
      values.set(toFloat32(bytes, piece.info.dtype), at);
      at += rows;
    }
    return values;
  }

  async #vector(weight: WeightName, length: number, layer: number, name?: string): Promise<Tensor | undefined> {
    const values = await this.#vectorValues(weight, length, layer, name);
    return values && this.#uploadVector(values, weight);
  }

  /** Vectors end to end; absent ones are zeros, and nothing when all are absent. */
  async #stackVectors(
    names: readonly WeightName[],
    lengths: readonly number[],
    layer: number,
  ): Promise<Tensor | undefined> {
    const vectors = await Promise.all(
      names.map((name, index) => this.#vectorValues(name, lengths[index] as number, layer)),
    );
    if (vectors.every((vector) => vector === undefined)) return undefined;
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
