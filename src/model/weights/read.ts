/**
 * Reads weights by TransformerLens's names and in its shapes. They come from the GPU's copy, so they are the numbers that the
 * model computes with. These are the checkpoint's: nothing is folded, centred or scaled.
 */
import { InputError } from "../../errors.ts";
import { readBuffer } from "../../gpu/readback.ts";
import { Tensor } from "../../gpu/tensor.ts";
import type { Matrix } from "../../kernels/matrix.ts";
import { ELEMENT_BYTES } from "../../kernels/storage.ts";
import { nearestNames } from "../../schema/nearest.ts";
import type { Engine } from "../engine.ts";
import type { ModelSpec } from "../spec.ts";
import { fromStorage } from "./storage.ts";
import {
  axesOf,
  isPerBlock,
  isWeightOf,
  shapeOf,
  sizeOf,
  WEIGHT_NAMES,
  WEIGHTS,
  type WeightName,
  weightShape,
} from "./table.ts";

/** A weight of a loaded model. */
export interface WeightValues {
  /** TransformerLens's name. */
  readonly name: string;
  /** Its sizes, in TransformerLens's order: `blocks.0.attn.W_Q` is [head, dModel, dHead]. */
  readonly shape: readonly number[];
  /** Its values, row-major; f16 and bf16 are widened without loss. */
  readonly data: Float32Array;
}

/** A model whose weights are on the GPU. */
export type Loaded = Pick<Engine, "gpu" | "spec" | "weights" | "assertAlive">;

/** A weight that a model has. */
export interface Found {
  name: WeightName;
  layer: number;
  /** What it lies in, perhaps stacked with others. */
  value: Matrix | Tensor;
}

/** A piece of memory that is read at once, at most. */
const PIECE_BYTES = 16 << 20;

/** The weights that a model has, by TransformerLens's names, in the order of the forward pass. */
export function weightTable({ weights, spec }: Pick<Loaded, "weights" | "spec">): Map<string, Found> {
  const table = new Map<string, Found>();
  const put = (names: readonly WeightName[], layer: number, holder: unknown) => {
    for (const name of names) {
      // Queries alone lie where others have keys and values beside them. A tied W_U is there, though the spec needs none.
      if (name !== "unembed.W_U" && !isWeightOf(spec, name, layer)) continue;
      const { lens, place } = WEIGHTS[name];
      const value = place.split(".").reduce((at, key) => (at as Record<string, unknown> | undefined)?.[key], holder);
      if (value) table.set(lens.replace("{i}", `${layer}`), { name, layer, value: value as Found["value"] });
    }
  };
  const inBlock = WEIGHT_NAMES.filter(isPerBlock);
  const first = WEIGHT_NAMES.indexOf(inBlock[0] as WeightName);
  put(WEIGHT_NAMES.slice(0, first), 0, weights);
  for (const [layer, block] of weights.blocks.entries()) put(inBlock, layer, block);
  put(WEIGHT_NAMES.slice(first + inBlock.length), 0, weights);
  return table;
}

/**
 * Reads a weight; a tied `W_U` is the embedding's transpose. Key-value heads of grouped-query models are not repeated: their `W_K`
 * is [kvHead, dModel, dHead]. The names of TransformerLens's state dict (`embed.W_E`) are taken, too.
 * @throws InputError `input/no-weight` naming the nearest, `input/model-destroyed`
 */
export async function readWeight(model: Loaded, given: string): Promise<WeightValues> {
  model.assertAlive();
  const { spec } = model;
  const table = weightTable(model);
  const name = plainName(given);
  const found = table.get(name);
  if (!found) throw noWeight(spec, given, table);
  return { name, ...(await readFound(model, found, "lens")) };
}

/** The numbers of a weight, in TransformerLens's axes or as it is stored: [out, in] of a matrix. */
export async function readFound(
  model: Loaded,
  found: Found,
  order: "lens" | "stored",
): Promise<Pick<WeightValues, "shape" | "data">> {
  model.assertAlive();
  const axes = axesOf(model.spec, found.name)[order];
  const shape = shapeOf(axes, model.spec, found.layer);
  const data = new Float32Array(shape.reduce((product, size) => product * size, 1));
  await fill(data, model, found, axes.flat());
  return { shape, data };
}

/** A name of TransformerLens's state dict as the table has it. */
export const plainName = (given: string) => given.replace(/^(?:embed|pos_embed|unembed)\.(?=[Wb]_(?:E|pos|U)$)/, "");

/** The checkpoint's tensors that hold the weights whose TransformerLens names match; a tensor may hold others too. */
export function tensorsHolding(
  { weights, spec }: Pick<Loaded, "weights" | "spec">,
  matches: (name: string) => boolean,
): string[] {
  const found = [...weightTable({ weights, spec })].filter(([lens]) => matches(lens)).map(([, each]) => each);
  return found.flatMap(({ name, layer }) => {
    const isTied = name === "unembed.W_U" && spec.unembed.tied;
    const own: WeightName = isTied ? "embed.W_E" : name;
    const { place, spare } = WEIGHTS[own];
    const first = firstRowOf(spec, own, layer) - (spare?.(spec) ?? 0);
    const planned = weights.planned.filter((each) => each.place === place && (each.layer ?? 0) === layer);
    const end = first + (weightShape(spec, own, layer)[0] as number);
    const pieces = planned.flatMap((each) => each.pieces).filter(({ at }) => at >= first && at < end);
    return pieces.map(({ info }) => info.name);
  });
}

/** Reads what is stored as [out, in] or [in, out] into an array of `axes`. */
async function fill(
  data: Float32Array,
  model: Loaded,
  { name, layer, value }: Found,
  axes: readonly string[],
): Promise<void> {
  const { spec } = model;
  const [out = [], inner = []] = axesOf(spec, name).stored.map((group) => offsetsAlong(group, axes, spec, layer));
  const matrix = value instanceof Tensor ? asMatrix(value, Math.max(1, inner.length)) : value;
  const along = inner.length === 0 ? [0] : inner;
  const firstOut = firstRowOf(spec, name, layer);
  const isConv1d = matrix.layout === "conv1d";
  const [rows, columns, firstRow, firstColumn] = isConv1d ? [along, out, 0, firstOut] : [out, along, firstOut, 0];
  for await (const { row, count, values } of readRows(model, matrix, firstRow, rows.length)) {
    for (let r = 0; r < count; r++) {
      const to = rows[row - firstRow + r] as number;
      const from = r * matrix.stride + firstColumn;
      for (let c = 0; c < columns.length; c++) data[to + (columns[c] as number)] = values[from + c] as number;
    }
  }
}

/** Where each index along some axes, taken as one, lies in a row-major array of all `axes`. */
function offsetsAlong(some: readonly string[], axes: readonly string[], spec: ModelSpec, layer: number): number[] {
  const size = (axis: string) => sizeOf(axis, spec, layer);
  let offsets = [0];
  for (const axis of some) {
    const stride = axes.slice(axes.indexOf(axis) + 1).reduce((product, after) => product * size(after), 1);
    const steps = Array.from({ length: size(axis) }, (_, index) => index * stride);
    offsets = offsets.flatMap((offset) => steps.map((step) => offset + step));
  }
  return offsets;
}

/** The row of its matrix, [out, in], at which a weight begins: after those stacked before it. */
function firstRowOf(spec: ModelSpec, name: WeightName, layer: number): number {
  const { place, spare } = WEIGHTS[name];
  const stack = WEIGHT_NAMES.filter((other) => WEIGHTS[other].place === place && isWeightOf(spec, other, layer));
  const before = stack.slice(0, stack.indexOf(name)).map((other) => weightShape(spec, other, layer)[0] as number);
  return before.reduce((sum, rows) => sum + rows, spare?.(spec) ?? 0);
}

function asMatrix({ buffer, length }: Tensor, width: number): Matrix {
  const outWidth = length / width;
  const parts = [{ buffer, firstRow: 0, rows: outWidth }];
  return { outWidth, width, layout: "linear", stride: width, storage: "f32", parts };
}

/** Rows of a matrix as they lie in memory, `stride` elements each, a piece at a time. */
async function* readRows(
  model: Loaded,
  { layout, width, stride, storage: shared, parts }: Matrix,
  first: number,
  wanted: number,
): AsyncGenerator<{ row: number; count: number; values: Float32Array }> {
  for (const { buffer, firstRow, rows, streamed, storage = shared } of parts) {
    const rowBytes = stride * ELEMENT_BYTES[storage];
    const perRead = Math.max(1, Math.floor(PIECE_BYTES / rowBytes));
    const end = Math.min(first + wanted, firstRow + (layout === "conv1d" ? width : rows));
    for (let row = Math.max(first, firstRow); row < end; row += perRead) {
      const count = Math.min(perRead, end - row);
      model.assertAlive();
      const read = () => readBuffer(model.gpu, buffer, (row - firstRow) * rowBytes, count * rowBytes);
      const bytes = await (streamed ? streamed.use(read) : read());
      yield { row, count, values: fromStorage(new Uint8Array(bytes), storage) };
    }
  }
}

function noWeight(spec: ModelSpec, given: string, table: ReadonlyMap<string, Found>): InputError {
  const layer = Number(/^blocks\.(\d+)\./.exec(given)?.[1] ?? 0);
  const kind = WEIGHT_NAMES.find((name) => WEIGHTS[name].lens === given.replace(/^blocks\.\d+\./, "blocks.{i}."));
  const reason =
    layer >= spec.nLayers
      ? `: it has blocks 0 to ${spec.nLayers - 1}`
      : kind && WEIGHTS[kind].isOptional
        ? ", which counts it as zero"
        : "";
  const nearest = nearestNames(given, table.keys(), 3).join(", ");
  return new InputError(
    "input/no-weight",
    `"${given}" is no weight of this ${spec.family} model${reason}. Nearest: ${nearest}. weightNames() lists all.`,
  );
}
