/**
 * Batches to train on, in a safetensors file: `ids` [steps, batch, T + 1], and `mask` [steps, batch, T], where position t counts
 * if it is 1. A batch is read when its turn comes.
 */
import { basename, dirname } from "node:path";
import { type Checkpoint, openCheckpoint, openSource, type TensorInfo, toFloat32 } from "../checkpoint/index.ts";
import { SuperlensError } from "../errors.ts";
import type { TrainBatch } from "../train/index.ts";

/** Batches of a file. */
export interface BatchFile {
  readonly count: number;
  /** Those from `first` on. */
  from(first: number): AsyncGenerator<TrainBatch>;
  close(): Promise<void>;
}

/** @throws SuperlensError `cli/batches` for a file that holds no batches; CheckpointError for one that cannot be read */
export async function openBatches(path: string): Promise<BatchFile> {
  const { source } = await openSource(dirname(path));
  const file = await openCheckpoint(source, { file: basename(path) });
  try {
    const { ids, mask } = tensorsOf(file, path);
    const [count, batch, width] = ids.shape as [number, number, number];
    return {
      count,
      async *from(first) {
        for (let index = first; index < count; index++) {
          const idRows = await rowsOf(file, ids, index, batch, width);
          if (!mask) yield { ids: idRows };
          else yield { ids: idRows, mask: flags(await rowsOf(file, mask, index, batch, width - 1), index, path) };
        }
      },
      close: () => file.close(),
    };
  } catch (error) {
    await file.close();
    throw error;
  }
}

function tensorsOf({ tensors }: Checkpoint, path: string): { ids: TensorInfo; mask: TensorInfo | undefined } {
  const [ids, mask] = [tensors.get("ids"), tensors.get("mask")];
  const others = [...tensors.keys()].filter((name) => name !== "ids" && name !== "mask");
  const shape = ids?.shape ?? [];
  const [steps, batch, width = 0] = shape;
  const problem =
    ids === undefined
      ? `it has no tensor "ids"${others.length > 0 ? `, but ${others.slice(0, 5).join(", ")}` : ""}`
      : shape.length !== 3 || width < 2
        ? `ids has the shape [${shape.join(", ")}]`
        : mask && String(mask.shape) !== String([steps, batch, width - 1])
          ? `mask has the shape [${mask.shape.join(", ")}] beside ids [${shape.join(", ")}]`
          : undefined;
  if (problem === undefined) return { ids: ids as TensorInfo, mask };
  throw new SuperlensError(
    "cli/batches",
    `${path} holds no batches: ${problem}. It must have "ids" [steps, batch, T + 1] and may have "mask" [steps, batch, T].`,
  );
}

async function rowsOf(
  file: Checkpoint,
  { name, dtype, shape, byteLength }: TensorInfo,
  index: number,
  batch: number,
  width: number,
): Promise<number[][]> {
  const bytes = byteLength / (shape[0] as number);
  const values = toFloat32(await file.read(name, index * bytes, (index + 1) * bytes), dtype);
  return Array.from({ length: batch }, (_, row) => [...values.subarray(row * width, (row + 1) * width)]);
}

function flags(rows: readonly (readonly number[])[], index: number, path: string): boolean[][] {
  const wrong = rows.flat().find((value) => value !== 0 && value !== 1);
  if (wrong === undefined) return rows.map((row) => row.map((value) => value === 1));
  throw new SuperlensError(
    "cli/batches",
    `${path}: the mask of batch ${index} holds ${wrong}. It must be 1 where a prediction counts and 0 elsewhere.`,
  );
}
