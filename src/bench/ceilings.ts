/**
 * What this adapter can do at best, by this engine's own kernels: matmuls of many rows per second, bytes of weights per
 * second, and the price of a dispatch. A figure beside its ceiling says how much there is left to gain; without it one
 * would compare machines.
 *
 * The kernels are timed as the tuner times them (`src/kernels/tuning/benchmark.ts`), but in longer runs, of which the median
 * counts, less half of what a submit of nothing takes: a host that looks for the end every 12 ms (Deno) takes 12 ms for
 * nothing, and learns of anything longer half of that late, on average. The two winners can be timed again, beside whatever
 * is compared with them: a machine's speed changes within seconds.
 *
 * A matrix alone lies in a cache from one repetition to the next. So one row meets several in turn, as many as a model's
 * weights take: here 44 of 9 MB are read at 7.1 and 10.9 GB/s (Node, Deno) where one or eight are at 8.4 and 12.6.
 */
import type { Gpu } from "../gpu/gpu.ts";
import { combine } from "../kernels/calls.ts";
import { MATMUL_FAMILY } from "../kernels/matmul.ts";
import type { MatmulKernel } from "../kernels/matmul-kernels.ts";
import type { WeightLayout } from "../kernels/matrix.ts";
import { Benchmark } from "../kernels/tuning/benchmark.ts";
import { MatmulOperands, type MatmulSizes } from "../kernels/tuning/matmul.ts";
import { type RecordOnce, Timer, type Timing } from "../kernels/tuning/timer.ts";
import type { Workload } from "../kernels/tuning/workload.ts";
import type { Ceilings } from "./report.ts";
import { median } from "./statistics.ts";

/** What is tried, for each of the two ceilings. */
export interface CeilingSizes {
  manyRows: readonly MatmulSizes[];
  oneRow: readonly MatmulSizes[];
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
/** A run should take much longer than the 12 ms in which Deno looks for its end. */
export const RATE_TIMING: Timing = { runMs: 100, mostRepeats: 256, runs: 5, summary: median };
const DISPATCHES = 3000;
/** More weights than this lie in no cache. */
const MOST_WEIGHT_BYTES = 256 << 20;

export interface CeilingOptions {
  /** Told what comes next. */
  onDetail?: (detail: string) => void;
  signal?: AbortSignal | undefined;
  sizes?: CeilingSizes;
  /** Candidates beside the default; default: all there are. */
  matmuls?: readonly MatmulKernel[];
  /** How long each is timed. Default: `RATE_TIMING`. */
  timing?: Timing;
  /** Of the model whose decoding is compared with the rate of weights. */
  weightBytes?: number;
}

/** The two ceilings at one moment. */
export interface Rates {
  gflops: number;
  gigabytesPerSecond: number;
}

/** The fastest matmul of many rows and that of one row, with their operands. */
export class CeilingProbe {
  readonly #rates: Rates[] = [];

  private constructor(
    private readonly many: Runner,
    private readonly one: Runner,
    private readonly dispatchMs: number,
  ) {}

  /** Tries every kernel. The caller ends it with `destroy()`. */
  static async find(gpu: Gpu, options: CeilingOptions = {}): Promise<CeilingProbe> {
    const { onDetail = () => undefined, sizes = GPT2_SIZES, timing = RATE_TIMING, weightBytes = 0 } = options;
    onDetail(`${DISPATCHES} dispatches`);
    const { dispatchMs, waitMs } = await dispatchCost(gpu, timing, options.signal);
    const search: Search = { ...options, gpu, onDetail, timing: { ...timing, waitMs } };
    const oneRowBytes = Math.min(weightBytes, MOST_WEIGHT_BYTES);
    const many = await fastest(search, sizes.manyRows, 0);
    const one = await fastest(search, sizes.oneRow, oneRowBytes);
    return new CeilingProbe(new Runner(search, many, 0), new Runner(search, one, oneRowBytes), dispatchMs);
  }

  /** Both ceilings now: each the median of five runs. */
  async measure(): Promise<Rates> {
    const rates = {
      gflops: (await this.many.rates()).gflops,
      gigabytesPerSecond: (await this.one.rates()).gigabytesPerSecond,
    };
    this.#rates.push(rates);
    return rates;
  }

  /** Medians of all that was measured: NaN before `measure`. */
  get ceilings(): Ceilings {
    const { kernel, sizes } = this.one.winner;
    return {
      matmul: {
        gflops: median(this.#rates.map(({ gflops }) => gflops)),
        kernel: this.many.winner.kernel.name,
        ...this.many.winner.sizes,
      },
      weights: {
        gigabytesPerSecond: median(this.#rates.map(({ gigabytesPerSecond }) => gigabytesPerSecond)),
        kernel: kernel.name,
        width: sizes.width,
        outWidth: sizes.outWidth,
      },
      dispatchMicroseconds: 1000 * this.dispatchMs,
    };
  }

  destroy(): void {
    this.many.destroy();
    this.one.destroy();
  }
}

/** What the search for a ceiling has at hand. */
interface Search extends Pick<CeilingOptions, "matmuls" | "signal"> {
  gpu: Gpu;
  timing: Timing;
  onDetail: (detail: string) => void;
}

interface Winner {
  kernel: MatmulKernel;
  layout: WeightLayout;
  sizes: MatmulSizes;
}

/** The right kernel, layout and sizes with the most operations a second; for one row that is bytes, too, but for a factor. */
async function fastest(search: Search, list: readonly MatmulSizes[], weightBytes: number): Promise<Winner> {
  const { gpu, matmuls, signal, timing, onDetail } = search;
  using checking = new MatmulOperands(gpu, { signal });
  let best: (Winner & { gflops: number }) | undefined;
  for (const sizes of list) {
    onDetail(`matmuls of ${sizes.rows} x ${sizes.width} x ${sizes.outWidth}`);
    using operands = new MatmulOperands(gpu, { sizes, weightBytes, signal });
    for (const layout of LAYOUTS) {
      const shape = { rows: sizes.rows, layout, storage: "f32" } as const;
      const workload = operands.workload(shape, checking);
      const benchmark = new Benchmark(gpu, MATMUL_FAMILY, shape, workload, { timing, among: matmuls, signal });
      for (const _ of benchmark.candidates) {
        signal?.throwIfAborted();
        await benchmark.timeNext();
      }
      const kernel = await benchmark.fastestRight();
      const gflops = benchmark.timings.find((each) => each.kernel === kernel.name)?.gflops ?? 0;
      if (!best || gflops > best.gflops) best = { kernel, layout, sizes, gflops };
    }
  }
  return best as Winner;
}

/** A winner, ready to run again. */
class Runner {
  readonly #operands: MatmulOperands;
  readonly #workload: Workload<MatmulKernel>;

  constructor(
    private readonly search: Search,
    readonly winner: Winner,
    weightBytes: number,
  ) {
    const { gpu, signal } = search;
    const { layout, sizes } = winner;
    this.#operands = new MatmulOperands(gpu, { sizes, weightBytes, signal });
    this.#workload = this.#operands.workload({ rows: sizes.rows, layout, storage: "f32" });
  }

  /** What the winner reaches now. */
  async rates(): Promise<Rates> {
    const record: RecordOnce = (recorder, repetition) =>
      this.#workload.record(recorder, this.winner.kernel, repetition);
    const { gpu, timing, signal } = this.search;
    const ms = await new Timer(gpu, MATMUL_FAMILY.name, timing, signal).time(record);
    return { gflops: this.#workload.operations / ms / 1e6, gigabytesPerSecond: this.#workload.bytes / ms / 1e6 };
  }

  destroy(): void {
    this.#operands[Symbol.dispose]();
  }
}

interface DispatchCost {
  /** One among many that do next to nothing, each after the one before. */
  dispatchMs: number;
  /** From the end of a submit until the host knows. */
  waitMs: number;
}

async function dispatchCost(gpu: Gpu, timing: Timing, signal: AbortSignal | undefined): Promise<DispatchCost> {
  using x = gpu.tensor([64], "nothing");
  const timer = new Timer(gpu, "dispatches", timing, signal);
  const medianOf = async (dispatches: number) => {
    const times: number[] = [];
    while (times.length < timing.runs)
      times.push(await timer.run((recorder) => combine(recorder, gpu.zeros, x, 4, "add"), dispatches));
    return median(times);
  };
  await medianOf(1); // compiles
  const waitMs = (await medianOf(1)) / 2;
  return { waitMs, dispatchMs: ((await medianOf(DISPATCHES)) - waitMs) / DISPATCHES };
}
