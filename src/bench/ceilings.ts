/**
 * What this adapter can do at best, by this engine's own kernels: products of many rows per second, bytes of weights per
 * second, and the price of a dispatch. A figure beside its ceiling says how much there is left to gain; without it one
 * would compare machines.
 *
 * Every kernel that fits is tried once; those far from the best so far are left at that. Of the others several repetitions
 * go into one submit, and the median of five counts, less half of what a submit of nothing takes: a host that looks for the
 * end every 12 ms (Deno) takes 12 ms for nothing, and learns of anything longer half of that late, on average. What is then
 * faster than the best so far must also agree with the reference. The two winners can be timed again, beside whatever is
 * held against them: a machine's speed changes within seconds.
 *
 * A matrix alone lies in a cache from one repetition to the next. So one row meets several in turn, as many as a model's
 * weights take: here 44 of 9 MB are read at 7.1 and 10.9 GB/s (Node, Deno) where one or eight are at 8.4 and 12.6.
 */
import type { Gpu } from "../gpu/gpu.ts";
import { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { add, matmul } from "../kernels/calls.ts";
import { fits, PRODUCTS, type Product, type WeightLayout } from "../kernels/matmul.ts";
import { rowClassOf } from "../kernels/matmul-choice.ts";
import type { Matrix } from "../kernels/matrix.ts";
import { isRefused, TOLERANCE } from "../kernels/tuning/contest.ts";
import { ProductOperands, productError } from "../kernels/tuning/products.ts";
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
/** A submit should take as long as this, in milliseconds: much longer than the 12 in which Deno looks for its end. */
const SUBMIT_MS = 100;
const MAX_REPETITIONS = 256;
/** A kernel this many times slower than the best is given up: after one dispatch, and after a submit of many. */
const HOPELESS_AT_ONCE = 4;
const HOPELESS = 2;
const DISPATCHES = 3000;
/** More weights than this lie in no cache. */
const MOST_WEIGHT_BYTES = 256 << 20;

export interface CeilingOptions {
  /** Told what comes next. */
  onDetail?: (detail: string) => void;
  signal?: AbortSignal | undefined;
  sizes?: CeilingSizes;
  /** Default: all there are. */
  products?: readonly Product[];
  /** Of the model whose decoding is held against the rate of weights. */
  weightBytes?: number;
}

/** The two ceilings at one moment. */
export interface Rates {
  gflops: number;
  gigabytesPerSecond: number;
}

/** The fastest product of many rows and that of one row, with their operands. */
export class CeilingProbe {
  readonly #rates: Rates[] = [];

  private constructor(
    private readonly many: Runner,
    private readonly one: Runner,
    private readonly cost: DispatchCost,
  ) {}

  /** Tries every kernel. The caller ends it with `destroy()`. */
  static async find(gpu: Gpu, options: CeilingOptions = {}): Promise<CeilingProbe> {
    const { onDetail = () => undefined, signal, sizes = GPT2_SIZES, products = PRODUCTS, weightBytes = 0 } = options;
    onDetail(`${DISPATCHES} dispatches`);
    const cost = await dispatchCost(gpu);
    using checking = new ProductOperands(gpu);
    const search: Search = { gpu, products, checking, waitMs: cost.waitMs, signal };
    const best = async (list: readonly Sizes[], bytes: number) => {
      let winner: Timed | undefined;
      for (const one of list) {
        onDetail(`products of ${one.rows} x ${one.width} x ${one.outWidth}`);
        winner = await bestProduct(search, one, bytes, winner);
      }
      return winner as Timed;
    };
    const oneRowBytes = Math.min(weightBytes, MOST_WEIGHT_BYTES);
    const many = await best(sizes.manyRows, 0);
    const one = await best(sizes.oneRow, oneRowBytes);
    const runner = (entry: Timed, bytes: number) => new Runner(gpu, entry, bytes, cost.waitMs);
    return new CeilingProbe(runner(many, 0), runner(one, oneRowBytes), cost);
  }

  /** Both ceilings now: each the median of five submits. */
  async measure(): Promise<Rates> {
    const gflops = operationsOf(this.many.entry.sizes) / (1e6 * (await this.many.ms()));
    const { width, outWidth } = this.one.entry.sizes;
    const gigabytesPerSecond = (4 * width * outWidth) / (1e6 * (await this.one.ms()));
    const rates = { gflops, gigabytesPerSecond };
    this.#rates.push(rates);
    return rates;
  }

  /** Medians of all that was measured: NaN before `measure`. */
  get ceilings(): Ceilings {
    const { many, one } = this;
    return {
      product: {
        gflops: median(this.#rates.map(({ gflops }) => gflops)),
        kernel: many.entry.product.name,
        ...many.entry.sizes,
      },
      weights: {
        gigabytesPerSecond: median(this.#rates.map(({ gigabytesPerSecond }) => gigabytesPerSecond)),
        kernel: one.entry.product.name,
        width: one.entry.sizes.width,
        outWidth: one.entry.sizes.outWidth,
      },
      dispatchMicroseconds: 1000 * this.cost.dispatchMs,
    };
  }

  destroy(): void {
    this.many.destroy();
    this.one.destroy();
  }
}

/** A winner, ready to run again. */
class Runner {
  readonly #operands: Operands;

  constructor(
    private readonly gpu: Gpu,
    readonly entry: Timed,
    weightBytes: number,
    private readonly waitMs: number,
  ) {
    this.#operands = makeOperands(gpu, entry.sizes, weightBytes);
  }

  /** Of one product: the median of five submits, as what is held against it is a median. */
  async ms(): Promise<number> {
    const { product, layout, repetitions } = this.entry;
    const times: number[] = [];
    for (let i = 0; i < MEASUREMENTS; i++) {
      times.push(await eachMs(this.gpu, product, this.#operands, layout, repetitions, this.waitMs));
    }
    return median(times);
  }

  destroy(): void {
    destroyOperands(this.#operands);
  }
}

interface Timed {
  product: Product;
  layout: WeightLayout;
  sizes: Sizes;
  /** Products of a submit. */
  repetitions: number;
  /** Of one product. */
  ms: number;
}

const operationsOf = ({ rows, width, outWidth }: Sizes) => 2 * rows * width * outWidth;
/** Operations a millisecond; for one row that is bytes, too, but for a factor. */
const rateOf = ({ sizes, ms }: Timed) => operationsOf(sizes) / ms;

/** What the search for a ceiling has at hand. */
interface Search {
  gpu: Gpu;
  products: readonly Product[];
  /** What a product is held against the reference with. */
  checking: ProductOperands;
  waitMs: number;
  signal: AbortSignal | undefined;
}

/** The fastest right product of these sizes, or `winner` if none beats it. */
async function bestProduct(
  { gpu, products, checking, waitMs, signal }: Search,
  sizes: Sizes,
  weightBytes: number,
  winner: Timed | undefined,
): Promise<Timed | undefined> {
  const operands = makeOperands(gpu, sizes, weightBytes);
  let best = winner;
  try {
    for (const { product, layout } of candidates(gpu, products, sizes.rows)) {
      signal?.throwIfAborted();
      const bestMs = best && operationsOf(sizes) / rateOf(best);
      const time = await timeProduct(gpu, product, operands, layout, waitMs, bestMs).catch(unlessRefused);
      if (!time || (bestMs !== undefined && time.ms >= bestMs)) continue;
      if (await isRight(checking, product, sizes.rows, layout)) best = { product, layout, sizes, ...time };
    }
  } finally {
    destroyOperands(operands);
  }
  return best;
}

/** A kernel that the driver does not take is passed over. */
function unlessRefused(error: unknown): undefined {
  if (!isRefused(error)) throw error;
}

/** Whether it computes what the reference does: what is fast and wrong sets no ceiling. */
async function isRight(
  checking: ProductOperands,
  product: Product,
  rows: number,
  layout: WeightLayout,
): Promise<boolean> {
  return (await productError(checking, product, { rows: rowClassOf(rows), layout, storage: "f32" })) < TOLERANCE;
}

function candidates(
  gpu: Gpu,
  products: readonly Product[],
  rows: number,
): { product: Product; layout: WeightLayout }[] {
  return LAYOUTS.flatMap((layout) =>
    products.filter((product) => fits(gpu, product, rows, layout)).map((product) => ({ product, layout })),
  );
}

interface Operands extends Sizes {
  x: Tensor;
  /** Matrices that repetitions take in turn. */
  weights: Tensor[];
  out: Tensor;
}

/** Operands with at least `weightBytes` of matrices. */
function makeOperands(gpu: Gpu, sizes: Sizes, weightBytes: number): Operands {
  const { rows, width, outWidth } = sizes;
  const filled = (count: number) => Float32Array.from({ length: count }, (_, index) => Math.sin(index));
  const values = filled(width * outWidth);
  const copies = Math.max(1, Math.ceil(weightBytes / values.byteLength));
  return {
    ...sizes,
    x: gpu.tensorFrom(filled(rows * width), [rows, width], "operand"),
    weights: Array.from({ length: copies }, () => gpu.tensorFrom(values, [outWidth, width], "weights")),
    out: gpu.tensor([rows, outWidth], "product"),
  };
}

function matrixOf({ width, outWidth, weights }: Operands, index: number, layout: WeightLayout): Matrix {
  const stride = layout === "linear" ? width : outWidth;
  const { buffer } = weights[index % weights.length] as Tensor;
  return { outWidth, width, layout, stride, storage: "f32", parts: [{ buffer, firstRow: 0, rows: outWidth }] };
}

function destroyOperands({ x, weights, out }: Operands): void {
  for (const tensor of [x, ...weights, out]) tensor.destroy();
}

/** Milliseconds of one product; only roughly where it is hopeless against `bestMs`. */
async function timeProduct(
  gpu: Gpu,
  product: Product,
  operands: Operands,
  layout: WeightLayout,
  wait: number,
  bestMs: number | undefined,
): Promise<Pick<Timed, "ms" | "repetitions">> {
  const each = (repetitions: number) => eachMs(gpu, product, operands, layout, repetitions, wait);
  await each(1); // compiles
  const single = await each(1);
  // News of its end may have come twice `wait` late, of which one is taken off already.
  if (bestMs !== undefined && single - wait > HOPELESS_AT_ONCE * bestMs) return { ms: single, repetitions: 1 };
  const once = await each(3);
  const repetitions = Math.max(1, Math.min(MAX_REPETITIONS, Math.round(SUBMIT_MS / once)));
  const first = await each(repetitions);
  if (bestMs !== undefined && first > HOPELESS * bestMs) return { ms: first, repetitions };
  const times = [first];
  while (times.length < MEASUREMENTS) times.push(await each(repetitions));
  return { ms: median(times), repetitions };
}

/** Milliseconds of one of several products in a submit, less the wait for the news of its end. */
async function eachMs(
  gpu: Gpu,
  product: Product,
  operands: Operands,
  layout: WeightLayout,
  repetitions: number,
  wait: number,
): Promise<number> {
  const { x, rows, out } = operands;
  const ms = await submitMs(gpu, (recorder) => {
    for (let i = 0; i < repetitions; i++) matmul(recorder, x, rows, matrixOf(operands, i, layout), out, { product });
  });
  return Math.max(ms - wait, ms / 10) / repetitions;
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

interface DispatchCost {
  /** One among many that do next to nothing, each after the one before. */
  dispatchMs: number;
  /** From the end of a submit until the host knows. */
  waitMs: number;
}

async function dispatchCost(gpu: Gpu): Promise<DispatchCost> {
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
    const waitMs = (await medianOf(1)) / 2;
    return { waitMs, dispatchMs: ((await medianOf(DISPATCHES)) - waitMs) / DISPATCHES };
  } finally {
    x.destroy();
  }
}
