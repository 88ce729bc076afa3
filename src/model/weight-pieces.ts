/**
 * The checkpoint's side of loading: which tensor a weight is, whether it has the shape that the config makes it, and its
 * rows, at most `PIECE_BYTES` of them at a time.
 */
import { bytesPerElement, type Checkpoint, isFloat, type TensorInfo } from "../checkpoint/index.ts";
import { CheckpointError } from "../errors.ts";
import { nearestNames } from "../schema/nearest.ts";
import { resolveTensorName } from "./families/resolve.ts";
import { assertFinite } from "./finite.ts";
import type { TensorSource } from "./spec.ts";
import { transposeBytes } from "./storage.ts";

const PIECE_BYTES = 16 << 20;

/** A checkpoint tensor with the rows wanted of it. */
export interface Piece {
  info: TensorInfo;
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
    private readonly checkpoint: Checkpoint,
    private readonly options: ReadOptions,
  ) {}

  /** The checkpoint's tensor for a source; undefined when it is optional and absent. */
  find(source: TensorSource, layer: number): TensorInfo | undefined {
    const name = source.tensor.replaceAll("{i}", String(layer));
    const { tensors, label } = this.checkpoint;
    const found = resolveTensorName(name, (candidate) => tensors.has(candidate));
    if (found === undefined && source.optional) return undefined;
    if (found === undefined) {
      const near = nearestNames(name, tensors.keys(), 3).join(", ");
      throw new CheckpointError(
        "checkpoint/missing-tensor",
        `${label}: tensor ${name} is missing. Nearest: ${near}. The config may belong to another checkpoint.`,
      );
    }
    return tensors.get(found);
  }

  /** Checks a tensor against the rows and width expected of it. */
  piece(source: TensorSource, layer: number, expectedRows: number, width: number): Piece | undefined {
    const info = this.find(source, layer);
    if (!info) return undefined;
    if (!isFloat(info.dtype)) {
      throw new CheckpointError(
        "checkpoint/dtype",
        `${info.file}: tensor ${info.name} is ${info.dtype}; weights must be a float type.`,
      );
    }
    const [outer = 1, inner = 1] = info.shape;
    const isVector = width === 1 && info.shape.length <= 2;
    const [total, actualWidth] = isVector
      ? [info.shape.reduce((a, b) => a * b, 1), 1]
      : source.transpose
        ? [inner, outer]
        : [outer, inner];
    const selection = source.rows ?? { groups: 1, groupSize: total, start: 0, count: total };
    const taken = selection.groups * selection.count;
    const packed = selection.groups * selection.groupSize;
    if (actualWidth !== width || taken !== expectedRows || packed !== total || (!isVector && info.shape.length !== 2)) {
      const wanted =
        width === 1
          ? `[${packed === taken ? expectedRows : packed}]`
          : source.transpose
            ? `[${width}, ${packed}]`
            : `[${packed === taken ? expectedRows : packed}, ${width}]`;
      throw new CheckpointError(
        "checkpoint/shape",
        `${info.file}: tensor ${info.name} has shape [${info.shape.join(", ")}]; config.json makes it ${wanted}. Config and weights must belong together.`,
      );
    }
    const runs = Array.from({ length: selection.groups }, (_, group) => ({
      first: group * selection.groupSize + selection.start,
      count: selection.count,
    }));
    return { info, source, rows: total, width, runs };
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
