/**
 * A dictionary's tensors on the GPU. Matrices lie by features, [dSae, …], in the file's own type, and are cut into parts where
 * they exceed a binding; rows go there in pieces, so that JavaScript never holds more than a part.
 */
import { bytesPerElement, toFloat32 } from "../../checkpoint/index.ts";
import { CheckpointError, ConfigError } from "../../errors.ts";
import type { Gpu } from "../../gpu/gpu.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { STORAGE_USAGE } from "../../gpu/usage.ts";
import { ELEMENT_BYTES, type Matrix, type MatrixPart } from "../../kernels/matrix.ts";
import { areFinite } from "../../model/weights/finite.ts";
import { commonStorage, toStorage } from "../../model/weights/storage.ts";
import type { ModuleWeights } from "../../model/weights/weights.ts";
import type { FoundMatrix, FoundModule, FoundTensor } from "./found.ts";

const PIECE_BYTES = 16 << 20;

/** What loading needs besides the tensors. `own` is called with each buffer that is made. */
export interface WeightLoading {
  readonly gpu: Gpu;
  readonly signal?: AbortSignal | undefined;
  own(buffer: GPUBuffer): void;
  /** Called with the bytes that were read since the last call. */
  onBytes(bytes: number, tensor: string): void;
}

/** Everything a module is made of, by the names that `model/modules.ts` has for it. */
export async function loadModuleWeights(loading: WeightLoading, found: FoundModule): Promise<ModuleWeights> {
  const weights: Record<string, ModuleWeights[string]> = {};
  for (const [name, matrix] of Object.entries(found.matrices)) weights[name] = await loadMatrix(loading, name, matrix);
  const read = async (name: string) => {
    const tensor = found.vectors[name];
    return tensor && readVector(loading, tensor);
  };
  const put = (name: string, values: Float32Array): Tensor => {
    const tensor = loading.gpu.constant(values, [values.length], name);
    loading.own(tensor.buffer);
    return tensor;
  };
  const { spec } = found;
  await assertOnes(loading, found);
  const { biasScale = 1 } = found;
  const decoderBias = ((await read("b_dec")) ?? new Float32Array(spec.dOut)).map((value) => value * biasScale);
  weights.outputShift = { b: put("b_dec", decoderBias) };
  if (spec.subtractsDecoderBias)
    weights.inputShift = {
      b: put(
        "-b_dec",
        decoderBias.map((value) => -value),
      ),
    };
  const encoderBias = await read("b_enc");
  if (encoderBias) weights.b_enc = put("b_enc", encoderBias);
  const threshold = await read("threshold");
  if (threshold) weights.threshold = put("threshold", threshold);
  const [gate, magnitude, factor] = [await read("b_gate"), await read("b_mag"), await read("r_mag")];
  if (gate) weights.gate = { b: put("b_gate", gate) };
  if (magnitude && factor)
    weights.magnitude = { w: put("exp(r_mag)", factor.map(Math.exp)), b: put("b_mag", magnitude) };
  return weights;
}

/** @throws ConfigError `module/setting` */
async function assertOnes(loading: WeightLoading, { ones }: FoundModule): Promise<void> {
  if (!ones || (await readVector(loading, ones)).every((value) => Math.abs(value - 1) < 1e-5)) return;
  throw new ConfigError(
    "module/setting",
    `${ones.file}: the tensor ${ones.name} is not 1 everywhere, and finetuning_scaling_factor is not on. Set it to true in cfg.json if the features are scaled.`,
  );
}

async function readVector({ onBytes, signal }: WeightLoading, tensor: FoundTensor): Promise<Float32Array> {
  const bytes = await tensor.read(0, tensor.byteLength);
  signal?.throwIfAborted();
  onBytes(bytes.length, tensor.name);
  assertNumbers(bytes, tensor);
  return Float32Array.from(toFloat32(bytes, tensor.dtype));
}

/** @throws CheckpointError `module/not-finite` */
function assertNumbers(bytes: Uint8Array, { file, name, dtype }: FoundTensor): void {
  if (areFinite(bytes, dtype)) return;
  throw new CheckpointError(
    "module/not-finite",
    `${file}: tensor ${name} has a NaN or infinite element. The file is damaged, or training diverged: take another copy.`,
  );
}

async function loadMatrix(loading: WeightLoading, name: string, found: FoundMatrix): Promise<Matrix> {
  const { gpu } = loading;
  const { rows, width, tensor, scale = 1 } = found;
  const ofRows = found.rowScale && (await readVector(loading, found.rowScale));
  const factorOf = ofRows || scale !== 1 ? (row: number) => scale * (ofRows?.[row] ?? 1) : undefined;
  const storage = factorOf ? "f32" : commonStorage([tensor.dtype]);
  const stride = Math.ceil(width / 4) * 4;
  const rowBytes = stride * ELEMENT_BYTES[storage];
  const limit = Math.min(gpu.limits.maxStorageBufferBindingSize, gpu.limits.maxBufferSize);
  const perPart = Math.min(rows, Math.max(1, Math.floor(limit / rowBytes)));
  const parts: MatrixPart[] = [];
  await gpu.guard(`allocating ${name} of a dictionary`, () => {
    for (let firstRow = 0; firstRow < rows; firstRow += perPart) {
      const here = Math.min(perPart, rows - firstRow);
      const buffer = gpu.createBuffer(here * rowBytes, STORAGE_USAGE, name);
      loading.own(buffer);
      parts.push({ buffer, firstRow, rows: here });
    }
  });
  for (const part of parts) {
    for await (const { first, bytes } of rowsOf(loading, found, part)) {
      const scaled = factorOf ? scaledRows(bytes, found, part.firstRow + first, factorOf) : bytes;
      const dtype = factorOf ? "F32" : tensor.dtype;
      const stored = toStorage(scaled, dtype, storage, width, stride) as Uint8Array<ArrayBuffer>;
      gpu.device.queue.writeBuffer(part.buffer, first * rowBytes, stored);
    }
    await gpu.guard(`loading ${name} of a dictionary`, () => gpu.device.queue.onSubmittedWorkDone());
  }
  return { outWidth: rows, width, layout: "linear", stride, storage, parts };
}

function scaledRows(
  bytes: Uint8Array,
  { tensor, width }: FoundMatrix,
  firstRow: number,
  factorOf: (row: number) => number,
): Uint8Array {
  const values = Float32Array.from(toFloat32(bytes, tensor.dtype));
  const scaled = values.map((value, i) => value * factorOf(firstRow + Math.floor(i / width)));
  return new Uint8Array(scaled.buffer);
}

/** The rows of a part, in order and in pieces, in the file's type; `first` counts from the part's first. */
async function* rowsOf(
  loading: WeightLoading,
  found: FoundMatrix,
  part: Pick<MatrixPart, "firstRow" | "rows">,
): AsyncGenerator<{ first: number; bytes: Uint8Array }> {
  const { tensor, width, isTransposed, slice = { at: 0, of: 1 } } = found;
  const size = bytesPerElement(tensor.dtype);
  if (isTransposed) {
    yield { first: 0, bytes: await columnsOf(loading, found, part) };
    return;
  }
  const rowBytes = width * size;
  const perRead = Math.max(1, Math.floor(PIECE_BYTES / (rowBytes * slice.of)));
  for (let first = 0; first < part.rows; first += perRead) {
    const count = Math.min(perRead, part.rows - first);
    const start = (part.firstRow + first) * rowBytes * slice.of;
    const bytes = await readPiece(loading, tensor, start, start + count * rowBytes * slice.of);
    yield { first, bytes: slice.of === 1 ? bytes : everyOther(bytes, rowBytes, slice, count) };
  }
}

/** One vector of each row that has several. */
function everyOther(
  bytes: Uint8Array,
  rowBytes: number,
  { at, of }: { at: number; of: number },
  count: number,
): Uint8Array {
  const picked = new Uint8Array(count * rowBytes);
  for (let row = 0; row < count; row++) {
    const start = (row * of + at) * rowBytes;
    picked.set(bytes.subarray(start, start + rowBytes), row * rowBytes);
  }
  return picked;
}

/** Columns of a tensor [width, rows] as rows: the whole tensor is read in pieces, and a part's worth of it is held. */
async function columnsOf(
  loading: WeightLoading,
  { tensor, rows, width }: FoundMatrix,
  part: Pick<MatrixPart, "firstRow" | "rows">,
): Promise<Uint8Array> {
  const size = bytesPerElement(tensor.dtype);
  const Elements = { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array, 8: BigUint64Array }[size] as typeof Uint32Array;
  const target = new Elements(part.rows * width);
  const perRead = Math.max(1, Math.floor(PIECE_BYTES / (rows * size)));
  for (let first = 0; first < width; first += perRead) {
    const count = Math.min(perRead, width - first);
    const bytes = await readPiece(loading, tensor, first * rows * size, (first + count) * rows * size);
    const aligned = bytes.byteOffset % size === 0 ? bytes : bytes.slice();
    const source = new Elements(aligned.buffer as ArrayBuffer, aligned.byteOffset, count * rows);
    for (let column = 0; column < count; column++) {
      for (let row = 0; row < part.rows; row++) {
        target[row * width + first + column] = source[column * rows + part.firstRow + row] as number;
      }
    }
  }
  return new Uint8Array(target.buffer);
}

async function readPiece(
  { signal, onBytes }: WeightLoading,
  tensor: FoundTensor,
  start: number,
  end: number,
): Promise<Uint8Array> {
  const bytes = await tensor.read(start, end);
  signal?.throwIfAborted();
  onBytes(end - start, tensor.name);
  assertNumbers(bytes, tensor);
  return bytes;
}
