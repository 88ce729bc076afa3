/**
 * What this adapter can do at best, by this engine's own kernels: products of many rows per second, bytes of weights per
 * second, and the price of a dispatch. A figure beside its ceiling says how much there is left to gain; without it one
 * would compare machines.
 *
 * Every kernel that fits is tried once; those far from the best so far are left at that. Of the others several repetitions
 * go into one submit, and the median of five counts, less what a submit of nothing takes (12 ms under Deno).
 */
import type { Gpu } from "../gpu/gpu.ts";
import { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { add, matmul } from "../model/ops.ts";
import { fits, PRODUCTS, type Product, type WeightLayout } from "../model/products.ts";
import type { Matrix } from "../model/weights.ts";
import type { Ceilings } from "./report.ts";
import { median, timed } from "./statistics.ts";

/** Sizes of a product: out [rows, outWidth] = x [rows, width] W. */
interface Sizes {
  rows: number;
  width: number;
  outWidth: number;
}

/** What is tried, for each of the two ceilings. */
export interface CeilingSizes {
  manyRows: readonly Sizes[];
  oneRow: readonly Sizes[];
}

/** GPT-2's MLP, over prompts of two lengths; the same for one token, and four times as many weights. */
const GPT2_SIZES: CeilingSizes = {
  manyRows: [
    { rows: 128, width: 768, outWidth: 3072 },
    { rows: 256, width: 768, outWidth: 3072 },
  ],
  oneRow: [
    { rows: 1, width: 768, outWidth: 3072 },
    { rows: 1, width: 3072, outWidth: 3072 },
  ],
};

const LAYOUTS: readonly WeightLayout[] = ["linear", "conv1d"];
const MEASUREMENTS = 5;
/** A submit should take as long as this, in milliseconds. */
const SUBMIT_MS = 25;
const MAX_REPETITIONS = 64;
/** A kernel this many times slower than the best is given up after its first try. */
const HOPELESS = 2;
const DISPATCHES = 1000;

export interface CeilingOptions {
  /** Told what comes next. */
  onDetail?: (detail: string) => void;
  signal?: AbortSignal | undefined;
  sizes?: CeilingSizes;
}

export async function measureCeilings(gpu: Gpu, options: CeilingOptions = {}): Promise<Ceilings> {
  const { onDetail = () => undefined, signal, sizes = GPT2_SIZES } = options;
  onDetail(`${DISPATCHES} dispatches`);
  const { dispatch, wait } = await dispatchMs(gpu);
  const best = async (list: readonly Sizes[]) => {
    let winner: Timed | undefined;
    for (const one of list) {
      onDetail(`products of ${one.rows} x ${one.width} x ${one.outWidth}`);
      winner = await bestProduct(gpu, one, wait, winner, signal);
    }
    return winner as Timed;
  };
  const many = await best(sizes.manyRows);
  const one = await best(sizes.oneRow);
  const bytes = 4 * one.sizes.width * one.sizes.outWidth;
  return {
    product: { gflops: operationsOf(many.sizes) / (1e6 * many.ms), kernel: many.product.name, ...many.sizes },
    weights: {
      gigabytesPerSecond: bytes / (1e6 * one.ms),
      kernel: one.product.name,
      width: one.sizes.width,
      outWidth: one.sizes.outWidth,
    },
    dispatchMicroseconds: 1000 * dispatch,
  };
}

interface Timed {
  product: Product;
  sizes: Sizes;
  /** Of one product. */
  ms: number;
}

const operationsOf = ({ rows, width, outWidth }: Sizes) => 2 * rows * width * outWidth;
/** Operations a millisecond; for one row that is bytes, too, but for a factor. */
const rateOf = ({ sizes, ms }: Timed) => operationsOf(sizes) / ms;

/** The fastest product of these sizes, or `winner` if none beats it. */
async function bestProduct(
  gpu: Gpu,
  sizes: Sizes,
  wait: number,
  winner: Timed | undefined,
  signal: AbortSignal | undefined,
): Promise<Timed | undefined> {
  const operands = makeOperands(gpu, sizes);
  let best = winner;
  try {
    for (const { product, layout } of candidates(gpu, sizes.rows)) {
      signal?.throwIfAborted();
      const ms = await productMs(gpu, product, operands, layout, wait, best && operationsOf(sizes) / rateOf(best));
      const here = { product, sizes, ms };
      if (!best || rateOf(here) > rateOf(best)) best = here;
    }
  } finally {
    for (const tensor of Object.values(operands.tensors)) tensor.destroy();
  }
  return best;
}

function candidates(gpu: Gpu, rows: number): { product: Product; layout: WeightLayout }[] {
  return LAYOUTS.flatMap((layout) =>
    PRODUCTS.filter((product) => fits(gpu, product, rows, layout)).map((product) => ({ product, layout })),
  );
}

interface Operands extends Sizes {
  tensors: { x: Tensor; w: Tensor; out: Tensor };
}

function makeOperands(gpu: Gpu, sizes: Sizes): Operands {
  const { rows, width, outWidth } = sizes;
  const filled = (count: number) => Float32Array.from({ length: count }, (_, index) => Math.sin(index));
  return {
    ...sizes,
    tensors: {
      x: gpu.tensorFrom(filled(rows * width), [rows, width], "operand"),
      w: gpu.tensorFrom(filled(width * outWidth), [outWidth, width], "weights"),
      out: gpu.tensor([rows, outWidth], "product"),
    },
  };
}

function matrixOf({ width, outWidth, tensors }: Operands, layout: WeightLayout): Matrix {
  const stride = layout === "linear" ? width : outWidth;
  const parts = [{ buffer: tensors.w.buffer, firstRow: 0, rows: outWidth }];
  return { outWidth, width, layout, stride, storage: "f32", parts };
}

/** Milliseconds of one product; only roughly where it is hopeless against `bestMs`. */
async function productMs(
  gpu: Gpu,
  product: Product,
  operands: Operands,
  layout: WeightLayout,
  wait: number,
  bestMs: number | undefined,
): Promise<number> {
  const W = matrixOf(operands, layout);
  const { x, out } = operands.tensors;
  const each = async (repetitions: number) => {
    const ms = await submitMs(gpu, (recorder) => {
      for (let i = 0; i < repetitions; i++) matmul(recorder, x, operands.rows, W, out, { product });
    });
    return Math.max(ms - wait, ms / 10) / repetitions;
  };
  await each(1); // compiles
  const once = await each(3);
  const repetitions = Math.max(1, Math.min(MAX_REPETITIONS, Math.round(SUBMIT_MS / once)));
  const first = await each(repetitions);
  if (bestMs !== undefined && first > HOPELESS * bestMs) return first;
  const times = [first];
  while (times.length < MEASUREMENTS) times.push(await each(repetitions));
  return median(times);
}

/** Milliseconds from the submission of what `record` records to its end on the GPU. */
async function submitMs(gpu: Gpu, record: (recorder: Recorder) => void): Promise<number> {
  const recorder = new Recorder(gpu, "ceiling");
  try {
    record(recorder);
    return await timed(async () => {
      await recorder.submit();
      await gpu.idle();
    });
  } finally {
    recorder.discard();
  }
}

/** Milliseconds of one dispatch among many that do next to nothing, each after the one before, and of a submit of one. */
async function dispatchMs(gpu: Gpu): Promise<{ dispatch: number; wait: number }> {
  const x = gpu.tensor([64], "nothing");
  const medianOf = async (dispatches: number) => {
    const times: number[] = [];
    for (let i = 0; i < MEASUREMENTS; i++) {
      const ms = await submitMs(gpu, (recorder) => {
        for (let dispatch = 0; dispatch < dispatches; dispatch++) add(recorder, gpu.zeros, x, 4);
      });
      times.push(ms);
    }
    return median(times);
  };
  try {
    await medianOf(1); // compiles
    const wait = await medianOf(1);
    return { wait, dispatch: ((await medianOf(DISPATCHES)) - wait) / (DISPATCHES - 1) };
  } finally {
    x.destroy();
  }
}
