/**
 * The checkpoint's side of loading: the rows of each weight's tensor, at most `PIECE_BYTES` of them at a time.
 */
import { bytesPerElement, type Checkpoint } from "../checkpoint/index.ts";
import { assertFinite } from "./finite.ts";
import type { ModelSpec, TensorSource, WeightName } from "./spec.ts";
import { transposeBytes } from "./storage.ts";
import { weightShape } from "./weight-shapes.ts";
import { type FloatTensor, findWeight, isVector } from "./weight-tensors.ts";

const PIECE_BYTES = 16 << 20;

/** A checkpoint tensor with the rows wanted of it. */
export interface Piece {
  info: FloatTensor;
  source: TensorSource;
  /** Rows of the whole tensor after `transpose`, and their width. */
  rows: number;
  width: number;
  /** Rows taken, as runs of consecutive ones. */
  runs: { first: number; count: number }[];
}

/** Rows that pieces give together. */
export function countRows(pieces: readonly Piece[]): number {
  return pieces.reduce((sum, piece) => sum + piece.runs.reduce((rows, run) => rows + run.count, 0), 0);
}

/** Rows that were read, one after the other without padding. */
export interface Rows {
  bytes: Uint8Array;
  rows: number;
}

export interface ReadOptions {
  /** Refuse NaN and infinite weights. */
  checkFinite?: boolean;
  signal?: AbortSignal | undefined;
}

/** Finds, checks and reads the tensors of a checkpoint. */
export class PieceReader {
  /** The tensor turned last: queries, keys and values are cut from one, which is then read once. */
  #turned: { name: string; bytes: Uint8Array } | undefined;

  constructor(
    private readonly spec: ModelSpec,
    private readonly checkpoint: Checkpoint,
    private readonly options: ReadOptions,
  ) {}

  /** A weight's rows; of biases and norms, each element is one. Undefined, and checked, as in `findWeight`. */
  piece(name: WeightName, layer: number): Piece | undefined {
    const info = findWeight(this.spec, this.checkpoint, name, layer);
    if (!info) return undefined;
    const source = this.spec.weights[name] as TensorSource;
    const shape = weightShape(this.spec, name, layer);
    const [taken, width] = isVector(name) ? [shape.reduce((a, b) => a * b, 1), 1] : (shape as [number, number]);
    const { groups, groupSize, start, count } = source.rows ?? { groups: 1, groupSize: taken, start: 0, count: taken };
    const runs = Array.from({ length: groups }, (_, group) => ({ first: group * groupSize + start, count }));
    return { info, source, rows: groups * groupSize, width, runs };
  }

  /** The rows of a piece in order, in the checkpoint's type. */
  async *rowsOf(piece: Piece): AsyncGenerator<Rows> {
    const { info, source } = piece;
    const rowBytes = piece.width * bytesPerElement(info.dtype);
    const whole = source.transpose ? await this.#transposed(piece) : undefined;
    const perRead = Math.max(1, Math.floor(PIECE_BYTES / rowBytes));
    for (const run of piece.runs) {
      for (let done = 0; done < run.count; done += perRead) {
        const rows = Math.min(perRead, run.count - done);
        const start = (run.first + done) * rowBytes;
        const end = start + rows * rowBytes;
        const bytes = whole ? whole.subarray(start, end) : await this.checkpoint.read(info.name, start, end);
        this.options.signal?.throwIfAborted();
        if (this.options.checkFinite) assertFinite(bytes, info);
        yield { bytes, rows };
      }
    }
  }

  /** A tensor stored as [in, out], turned around. Such tensors (GPT-2's) are small enough to be held whole. */
  async #transposed({ info, width, rows }: Piece): Promise<Uint8Array> {
    if (this.#turned?.name !== info.name) {
      this.#turned = undefined; // before the next one is read: two would stand in memory
      const bytes = await this.checkpoint.read(info.name);
      this.#turned = { name: info.name, bytes: transposeBytes(bytes, width, rows, bytesPerElement(info.dtype)) };
    }
    return this.#turned.bytes;
  }

  /** Pieces stored as [in, out] side by side, in their one type: rows [in] of the columns taken, [all out]. */
  async *besideEachOther(pieces: readonly Piece[]): AsyncGenerator<Rows> {
    const [{ info, width }] = pieces as [Piece, ...Piece[]];
    const rowWidths = new Map(pieces.map(({ info: { name }, rows }) => [name, rows])); // rows are read whole
    const rowElements = [...rowWidths.values()].reduce((sum, count) => sum + count, 0);
    const perRead = Math.max(1, Math.floor(PIECE_BYTES / (rowElements * bytesPerElement(info.dtype))));
    for (let row = 0; row < width; row += perRead) {
      const rows = Math.min(perRead, width - row);
      yield { bytes: await this.#columnsOf(pieces, row, rows), rows };
    }
  }

  /** Rows `first .. first + count` of the pieces' tensors, cut to the columns taken. */
  async #columnsOf(pieces: readonly Piece[], first: number, count: number): Promise<Uint8Array> {
    const size = bytesPerElement((pieces[0] as Piece).info.dtype);
    const outWidth = countRows(pieces);
    const read = new Map<string, Uint8Array>();
    const target = new Uint8Array(count * outWidth * size);
    let column = 0;
    for (const { info, rows, runs } of pieces) {
      const rowBytes = rows * size;
      const known = read.get(info.name);
      const bytes = known ?? (await this.checkpoint.read(info.name, first * rowBytes, (first + count) * rowBytes));
      this.options.signal?.throwIfAborted();
      if (!known && this.options.checkFinite) assertFinite(bytes, info);
      read.set(info.name, bytes);
      for (const run of runs) {
        for (let row = 0; row < count; row++) {
          const from = row * rowBytes + run.first * size;
          target.set(bytes.subarray(from, from + run.count * size), (row * outWidth + column) * size);
        }
        column += run.count;
      }
    }
    return target;
  }
}
