/**
 * Reads the checkpoint for loading: the rows of each piece of the plan, at most `PIECE_BYTES` at a time, so that JavaScript
 * never holds more than a few of them.
 */
import { byteLengthOf, type TensorType } from "../../checkpoint/blocks.ts";
import type { Checkpoint } from "../../checkpoint/index.ts";
import { assertFinite } from "./finite.ts";
import { type Cut, isStoredTurned, type KeptAs, type Piece, type PlannedWeight, rowsTaken } from "./plan.ts";
import { transposeBytes } from "./storage.ts";

const PIECE_BYTES = 16 << 20;
/** Runs of rows shorter than this are read with what lies between them: a read costs more than its bytes. */
const LONG_RUN_BYTES = 64 << 10;

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
    const { info } = piece;
    let firstRow = piece.at;
    const rowBytes = byteLengthOf(info.dtype, piece.width);
    const before = byteLengthOf(info.dtype, piece.start);
    const whole = isStoredTurned(piece) ? await this.#transposed(piece) : undefined;
    for (const { first, rows, cut } of spansOf(piece.cut, rowBytes)) {
      const start = first * rowBytes;
      const end = start + rows * rowBytes;
      const bytes = whole
        ? whole.subarray(start, end)
        : await this.checkpoint.read(info.name, before + start, before + end);
      this.options.signal?.throwIfAborted();
      const taken = takeRows(bytes, cut, rowBytes);
      if (this.options.checkFinite) assertFinite(taken, info);
      yield { firstRow, bytes: taken, dtype: info.dtype };
      firstRow += rowsTaken(cut);
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
    for (const { info, rows, cut } of pieces) {
      const rowBytes = rows * size;
      const known = read.get(info.name);
      const bytes = known ?? (await this.checkpoint.read(info.name, first * rowBytes, (first + count) * rowBytes));
      this.options.signal?.throwIfAborted();
      if (!known && this.options.checkFinite) assertFinite(bytes, info);
      read.set(info.name, bytes);
      for (let group = 0; group < cut.groups; group++) {
        for (let row = 0; row < count; row++) {
          const from = row * rowBytes + (group * cut.groupSize + cut.start) * size;
          target.set(bytes.subarray(from, from + cut.count * size), (row * outWidth + column) * size);
        }
        column += cut.count;
      }
    }
    return target;
  }
}

/** Rows that are read at once, and which of them are taken. */
interface Span {
  first: number;
  rows: number;
  cut: Cut;
}

/** The reads of a piece: long runs in pieces, short ones together with the rows between them. */
function* spansOf({ groups, groupSize, start, count }: Cut, rowBytes: number): Generator<Span> {
  const rowsAtOnce = Math.max(1, Math.floor(PIECE_BYTES / rowBytes));
  const isLong = groups === 1 || count * rowBytes >= LONG_RUN_BYTES;
  const groupsAtOnce = isLong ? 1 : Math.max(1, Math.floor(rowsAtOnce / groupSize));
  for (let group = 0; group < groups; group += groupsAtOnce) {
    const together = Math.min(groupsAtOnce, groups - group);
    const first = group * groupSize + start;
    const rows = (together - 1) * groupSize + count;
    if (together > 1) yield { first, rows, cut: { groups: together, groupSize, start: 0, count } };
    else
      for (let done = 0; done < rows; done += rowsAtOnce) {
        const some = Math.min(rowsAtOnce, rows - done);
        yield { first: first + done, rows: some, cut: { groups: 1, groupSize: some, start: 0, count: some } };
      }
  }
}

function takeRows(bytes: Uint8Array, { groups, groupSize, count }: Cut, rowBytes: number): Uint8Array {
  if (groups === 1) return bytes;
  const taken = new Uint8Array(groups * count * rowBytes);
  for (let group = 0; group < groups; group++) {
    const from = group * groupSize * rowBytes;
    taken.set(bytes.subarray(from, from + count * rowBytes), group * count * rowBytes);
  }
  return taken;
}
