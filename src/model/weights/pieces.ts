/**
 * Reads the checkpoint for loading: the rows of each piece of the plan, at most `PIECE_BYTES` at a time, so that JavaScript
 * never holds more than a few of them.
 */
import { byteLengthOf, type TensorType } from "../../checkpoint/blocks.ts";
import type { Checkpoint } from "../../checkpoint/index.ts";
import { assertFinite } from "./finite.ts";
import type { KeptAs, Piece, PlannedWeight } from "./plan.ts";
import { transposeBytes } from "./storage.ts";

const PIECE_BYTES = 16 << 20;

/** Rows of a matrix as it will lie in memory, one after the other, in the checkpoint's type and without padding. */
export interface Rows {
  firstRow: number;
  bytes: Uint8Array;
  dtype: TensorType;
}

export interface ReadOptions extends KeptAs {
  /** Refuse NaN and infinite weights. */
  checkFinite?: boolean;
  signal?: AbortSignal | undefined;
}

/** Reads the tensors of a checkpoint. */
export class PieceReader {
  /** The matrix transposed last: queries, keys and values may come from one tensor, which is then read once. */
  #turned: { name: string; start: number; bytes: Uint8Array } | undefined;

  constructor(
    private readonly checkpoint: Checkpoint,
    private readonly options: ReadOptions,
  ) {}

  /** Everything that a planned matrix is made of. */
  async *rowsOf({ pieces, matrix }: PlannedWeight): AsyncGenerator<Rows> {
    if (matrix.layout === "conv1d") yield* this.#besideEachOther(pieces, matrix.outWidth);
    else for (const piece of pieces) yield* this.#belowEachOther(piece);
  }

  async *#belowEachOther(piece: Piece): AsyncGenerator<Rows> {
    const { info, source } = piece;
    let firstRow = piece.at;
    const rowBytes = byteLengthOf(info.dtype, piece.width);
    const before = byteLengthOf(info.dtype, piece.start);
    const whole = source.transpose ? await this.#transposed(piece) : undefined;
    const perRead = Math.max(1, Math.floor(PIECE_BYTES / rowBytes));
    for (const run of piece.runs) {
      for (let done = 0; done < run.count; done += perRead) {
        const rows = Math.min(perRead, run.count - done);
        const start = (run.first + done) * rowBytes;
        const end = start + rows * rowBytes;
        const bytes = whole
          ? whole.subarray(start, end)
          : await this.checkpoint.read(info.name, before + start, before + end);
        this.options.signal?.throwIfAborted();
        if (this.options.checkFinite) assertFinite(bytes, info);
        yield { firstRow, bytes, dtype: info.dtype };
        firstRow += rows;
      }
    }
  }

  /** A matrix stored as [in, out], transposed. Such matrices (GPT-2's, an expert's) are small enough to be held whole. */
  async #transposed({ info, width, rows, start }: Piece): Promise<Uint8Array> {
    if (this.#turned?.name !== info.name || this.#turned.start !== start) {
      this.#turned = undefined; // before the next one is read: two would stand in memory
      const size = byteLengthOf(info.dtype, 1);
      const bytes = await this.checkpoint.read(info.name, start * size, (start + width * rows) * size);
      this.#turned = { name: info.name, start, bytes: transposeBytes(bytes, width, rows, size) };
    }
    return this.#turned.bytes;
  }

  /** Pieces stored as [in, out] side by side, in their one type: rows [in] of the columns taken, [all out]. */
  async *#besideEachOther(pieces: readonly Piece[], outWidth: number): AsyncGenerator<Rows> {
    const [{ info, width }] = pieces as [Piece, ...Piece[]];
    const rowWidths = new Map(pieces.map(({ info: { name }, rows }) => [name, rows])); // rows are read whole
    const rowElements = [...rowWidths.values()].reduce((sum, count) => sum + count, 0);
    const perRead = Math.max(1, Math.floor(PIECE_BYTES / (rowElements * byteLengthOf(info.dtype, 1))));
    for (let firstRow = 0; firstRow < width; firstRow += perRead) {
      const rows = Math.min(perRead, width - firstRow);
      yield { firstRow, bytes: await this.#columnsOf(pieces, outWidth, firstRow, rows), dtype: info.dtype };
    }
  }

  /** Rows `first .. first + count` of the pieces' tensors, cut to the columns taken. */
  async #columnsOf(pieces: readonly Piece[], outWidth: number, first: number, count: number): Promise<Uint8Array> {
    const size = byteLengthOf((pieces[0] as Piece).info.dtype, 1);
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
