/**
 * The benchmark of one class of shapes. The default of the adapter runs first, then every other candidate that fits. The
 * fastest is compared with the reference before it is chosen, and a wrong one is rejected.
 */
import type { Gpu } from "../../gpu/gpu.ts";
import type { Candidate, KernelFamily } from "../family.ts";
import { type RecordOnce, Timer, type Timing } from "./timer.ts";
import { isRefused, TOLERANCE, type Workload } from "./workload.ts";

/** One kernel's time in a benchmark. */
export interface KernelTiming {
  kernel: string;
  /** Of one matmul of `ROW_CLASSES[].typical` rows with a 768 x 768 matrix, or one attention of heads 768 wide in all. */
  ms: number;
  /** 1e9 floating-point operations a second, a multiply-add being two. */
  gflops: number;
  /** Weights, or keys and values, in 1e9 bytes a second. */
  gigabytesPerSecond: number;
}

export interface BenchmarkOptions<Kernel> {
  timing: Timing;
  /** What the default's time is multiplied by: another must beat that. Default 1. */
  defaultAdvantage?: number;
  /** The candidates beside the default; default: all of the family. */
  among?: readonly Kernel[] | undefined;
  signal?: AbortSignal | undefined;
}

interface Timed<Kernel> {
  kernel: Kernel;
  ms: number;
}

export class Benchmark<Shape, Kernel extends Candidate<Shape>> {
  /** In the order in which they are to be timed: the default, others of its kind (named alike), the rest. */
  readonly candidates: readonly [Kernel, ...Kernel[]];
  /** Candidates that were timed or refused so far. */
  attempts = 0;
  readonly rejected: { kernel: string; reason: string }[] = [];
  readonly #timed: Timed<Kernel>[] = [];
  readonly #timer: Timer;

  constructor(
    gpu: Gpu,
    private readonly family: KernelFamily<Shape, Kernel>,
    shape: Shape,
    private readonly workload: Workload<Kernel>,
    private readonly options: BenchmarkOptions<Kernel>,
  ) {
    const first = family.defaultFor(gpu.host, shape);
    const { among = family.candidates } = options;
    const others = among.filter((kernel) => kernel !== first && kernel.fits(gpu.host, shape));
    const isKin = ({ name }: Kernel) => name.split(" ")[0] === first.name.split(" ")[0];
    this.candidates = [first, ...others.filter(isKin), ...others.filter((kernel) => !isKin(kernel))];
    this.#timer = new Timer(gpu, family.name, options.timing, options.signal);
  }

  /** Times the next candidate, or rejects it when the driver does. */
  async timeNext(): Promise<void> {
    const kernel = this.candidates[this.attempts++] as Kernel;
    const record = this.#recordOf(kernel);
    try {
      await this.#timer.run(record, 1); // compiles
      this.#timed.push({ kernel, ms: await this.#timer.time(record) });
    } catch (error) {
      if (!isRefused(error)) throw error;
      this.#reject(kernel, error.message);
    }
  }

  /** The fastest that computes what the reference does; the reference itself when there is none. */
  async fastestRight(): Promise<Kernel> {
    await this.#timeDefaultAgain();
    for (const { kernel } of this.#ranking()) {
      const error = await this.workload.error(kernel);
      if (error < TOLERANCE) return kernel;
      this.#reject(kernel, `differs from the reference by ${error.toPrecision(2)} of the largest value`);
    }
    return this.family.reference;
  }

  /** What was timed, in that order. */
  get timings(): KernelTiming[] {
    const { operations, bytes } = this.workload;
    return this.#timed.map(({ kernel: { name }, ms }) => ({
      kernel: name,
      ms,
      gflops: operations / ms / 1e6,
      gigabytesPerSecond: bytes / ms / 1e6,
    }));
  }

  #recordOf(kernel: Kernel): RecordOnce {
    return (recorder, repetition) => this.workload.record(recorder, kernel, repetition);
  }

  /**
   * Before the default loses, it runs again, in turn with who is faster: it was the first, and a GPU may still have slept
   * or a machine changed its speed since.
   */
  async #timeDefaultAgain(): Promise<void> {
    const usual = this.#timed.find(({ kernel }) => kernel === this.candidates[0]);
    const compared = new Set([usual]);
    for (let best = this.#ranking()[0]; usual && best && !compared.has(best); best = this.#ranking()[0]) {
      compared.add(best);
      const pair = [usual, best].map(({ kernel }) => this.#recordOf(kernel));
      [usual.ms, best.ms] = (await this.#timer.timeInTurn(pair)) as [number, number];
    }
  }

  #ranking(): Timed<Kernel>[] {
    const { defaultAdvantage = 1 } = this.options;
    const weighed = ({ kernel, ms }: Timed<Kernel>) => ms * (kernel === this.candidates[0] ? defaultAdvantage : 1);
    return [...this.#timed].sort((a, b) => weighed(a) - weighed(b));
  }

  #reject({ name }: Kernel, reason: string): void {
    this.rejected.push({ kernel: name, reason });
  }
}
