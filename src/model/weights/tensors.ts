/**
 * The way back from memory to the checkpoint: which buffers hold the numbers of a tensor, and the tensor in the order in which
 * the checkpoint stores it. For weights, and for what lies as they do: their gradients.
 */
import type { Gpu } from "../../gpu/gpu.ts";
import { readBuffer } from "../../gpu/readback.ts";
import type { BufferSlice } from "../../gpu/recorder.ts";
import { Tensor } from "../../gpu/tensor.ts";
import type { Matrix } from "../../kernels/matrix.ts";
import { type Piece, type PlannedMatrix, type PlannedWeight, rowsTaken, rowTaken } from "./plan.ts";
import { fromStorage } from "./storage.ts";
import { WEIGHT_NAMES, WEIGHTS } from "./table.ts";
import type { Weights } from "./weights.ts";

/** What was planned, or its gradient, in memory; `slices` by the parts of `matrix`. */
export interface InMemory {
  readonly planned: PlannedWeight;
  readonly matrix: PlannedMatrix;
  readonly slices: readonly BufferSlice[];
}

/** The weights of a model. */
export function weightsInMemory(weights: Weights): InMemory[] {
  return weights.planned.map((planned) => {
    const { place, layer, matrix } = planned;
    const holder: unknown = layer === undefined ? weights : weights.blocks[layer];
    const value = place.split(".").reduce((at, key) => (at as Record<string, unknown>)[key], holder) as Matrix | Tensor;
    return { planned, matrix, slices: value instanceof Tensor ? [value] : value.parts };
  });
}

/** The tensors of the checkpoint that a model computes with, in the order in which they are loaded. */
export function tensorNames({ planned }: Pick<Weights, "planned">): string[] {
  return [...new Set(planned.flatMap(({ pieces }) => pieces.map(({ info }) => info.name)))];
}

/** Those that training moves: without constants. */
export function parameterNames({ planned }: Pick<Weights, "planned">): string[] {
  const constants = new Set(WEIGHT_NAMES.filter((name) => WEIGHTS[name].isConstant).map((name) => WEIGHTS[name].place));
  return tensorNames({ planned: planned.filter(({ place }) => !constants.has(place)) });
}

/** The pieces that are cut from a tensor, with where they lie. */
export function piecesOf(memory: readonly InMemory[], name: string): { piece: Piece; held: InMemory }[] {
  return memory.flatMap((held) =>
    held.planned.pieces.filter(({ info }) => info.name === name).map((piece) => ({ piece, held })),
  );
}

/** The shape of a piece's tensor in the checkpoints of its family, as `readTensor` gives it. */
export function shapeInFamily({ info: { shape, isTurned } }: Piece): readonly number[] {
  return isTurned ? [...shape.slice(0, -2), ...shape.slice(-2).reverse()] : shape;
}

/** Numbers of a buffer: `rows` vectors of `width`, `stride` apart, from `start` on. */
export interface Region {
  readonly buffer: GPUBuffer;
  readonly start: number;
  readonly rows: number;
  readonly width: number;
  readonly stride: number;
}

/** Where in memory the numbers of a piece lie. */
export function regionsOf({ at, width, cut }: Piece, { matrix, slices }: InMemory): Region[] {
  const { layout, stride } = matrix;
  const end = at + rowsTaken(cut);
  return matrix.parts.flatMap(({ firstRow, rows: held }, index): Region[] => {
    const first = Math.max(at, firstRow) - firstRow;
    const count = Math.min(end, firstRow + held) - firstRow - first;
    if (count <= 0) return [];
    const { buffer, offset = 0 } = slices[index] as BufferSlice;
    const start = offset / 4 + first * (layout === "linear" ? stride : 1);
    return layout === "linear"
      ? [{ buffer, start, rows: count, width, stride }]
      : [{ buffer, start, rows: width, width: count, stride }];
  });
}

/** A tensor of numbers in float32 whatever its storage, [..] as the checkpoints of its family store it. */
export async function readTensor(gpu: Gpu, pieces: readonly { piece: Piece; held: InMemory }[]): Promise<Float32Array> {
  const shape = pieces[0]?.piece.info.shape ?? [];
  const data = new Float32Array(shape.reduce((product, size) => product * size, 1));
  for (const { piece, held } of pieces) await putPiece(gpu, data, piece, held);
  return data;
}

/** Puts a piece's rows where they were cut from. */
async function putPiece(gpu: Gpu, data: Float32Array, piece: Piece, { matrix, slices }: InMemory): Promise<void> {
  for (const [index, part] of matrix.parts.entries()) {
    const { buffer, offset = 0, streamed } = slices[index] as BufferSlice;
    const read = () => readBuffer(gpu, buffer, offset, part.bytes);
    const bytes = await (streamed ? streamed.use(read) : read());
    const values = fromStorage(new Uint8Array(bytes), part.storage ?? matrix.storage);
    eachNumber(piece, matrix, part, (inTensor, inPart) => {
      data[inTensor] = values[inPart] as number;
    });
  }
}

/** The other way: fills memory in float32 from tensors as `readTensor` gives them. */
export async function writeTensors(
  gpu: Gpu,
  { planned, matrix, slices }: InMemory,
  tensorOf: (name: string) => Promise<Float32Array>,
): Promise<void> {
  const names = new Set(planned.pieces.map(({ info }) => info.name));
  const tensors = new Map<string, Float32Array>();
  for (const name of names) tensors.set(name, await tensorOf(name));
  for (const [index, part] of matrix.parts.entries()) {
    const values = new Float32Array(part.bytes / 4);
    for (const piece of planned.pieces) {
      const data = tensors.get(piece.info.name) as Float32Array;
      eachNumber(piece, matrix, part, (inTensor, inPart) => {
        values[inPart] = data[inTensor] as number;
      });
    }
    const { buffer, offset = 0 } = slices[index] as BufferSlice;
    gpu.device.queue.writeBuffer(buffer, offset, values);
  }
}

/** Where each number of a piece stands: in its tensor, and in a part of the matrix. */
function eachNumber(
  { at, start, cut, rows, width, source }: Piece,
  { layout, stride }: PlannedMatrix,
  part: PlannedMatrix["parts"][number],
  visit: (inTensor: number, inPart: number) => void,
): void {
  for (let row = 0; row < rowsTaken(cut); row++) {
    const place = rowTaken(cut, row);
    const own = at + row - part.firstRow;
    if (own < 0 || own >= part.rows) continue;
    for (let k = 0; k < width; k++)
      visit(
        start + (source.transpose ? k * rows + place : place * width + k),
        layout === "linear" ? own * stride + k : k * stride + own,
      );
  }
}
