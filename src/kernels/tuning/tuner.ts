/**
 * The tuner: it times the matmul and attention kernels on this adapter, to find the fastest.
 *
 * Each class of shapes is a benchmark of its own (`benchmark.ts`). The default of the adapter keeps its place unless another
 * kernel beats it by 5%, so noise alone seldom decides.
 *
 * All benchmarks share one budget of time. Compiling counts, and is most of it on CPUs: SwiftShader takes 0.1 to 0.9 s for
 * a block kernel. So decoding comes before prompts, and kernels like the default before others. No benchmark takes more than
 * a third of the time left, or twice its share, unless its first two kernels need longer. A class that was not reached keeps
 * its default. Pipelines come from the engine's own cache, and stay there.
 */
import { abortable } from "../../abort.ts";
import type { Gpu } from "../../gpu/gpu.ts";
import { ATTENTION_FAMILY, type AttentionKernel } from "../attention.ts";
import { MATMUL_FAMILY } from "../matmul.ts";
import type { MatmulKernel } from "../matmul-kernels.ts";
import { AttentionOperands } from "./attention.ts";
import { Benchmark, type KernelTiming } from "./benchmark.ts";
import { type KernelClass, keyOf, USUAL_CLASSES } from "./classes.ts";
import { MatmulOperands } from "./matmul.ts";
import type { Choices } from "./store.ts";

/** How one class was decided. */
export interface ClassTimings {
  class: string;
  /** The kernel that the class would take untuned. */
  default: string;
  choice: string;
  /** In the order in which they ran; those that the budget left no time for are absent. */
  kernels: KernelTiming[];
}

/** What `tune` found. */
export interface TuneReport {
  /** Names of kernels by class. */
  choices: Choices;
  timings: ClassTimings[];
  /** Kernels that were fast and wrong, or that the driver does not take. */
  rejected: { class: string; kernel: string; reason: string }[];
  /** Classes that the budget did not reach, or left no time to compare anything in: they keep what they had. */
  skipped: string[];
}

/** The benchmark that runs. */
export interface TuneProgress {
  class: string;
  kernel: string;
  /** Kernels timed or passed over so far, of all that there are. */
  done: number;
  total: number;
}

export interface TuneOptions {
  /** Default: f32 in both layouts, any number of rows, and attention of heads of 64. */
  classes?: readonly KernelClass[];
  /** Milliseconds for all classes together; what began within them is finished, and checked. Default 3000. */
  budgetMs?: number;
  /** Called before each kernel is timed. */
  onProgress?: ((progress: TuneProgress) => void) | undefined;
  /** Called when a class is decided, with the name of its kernel. */
  onChoice?: ((kernelClass: string, kernel: string) => void) | undefined;
  /** Ends with `signal.reason`; this device uses nothing of what was found then. */
  signal?: AbortSignal | undefined;
  /** Candidates beside the default; default: all of the family. */
  matmuls?: readonly MatmulKernel[] | undefined;
  attentions?: readonly AttentionKernel[] | undefined;
}

const BUDGET_MS = 3000;
const TIMING = { runMs: 12, mostRepeats: 200, runs: 3, summary: (times: readonly number[]) => Math.min(...times) };
const DEFAULT_ADVANTAGE = 0.95;

/** Lets the device use these kernels, in place of older choices of the same classes. */
export function applyChoices(gpu: Gpu, choices: Choices): void {
  for (const [key, name] of Object.entries(choices)) gpu.choices.set(key, name);
}

/**
 * Times the kernels of each class on this device, and lets the device use the fastest right ones from now on.
 * @throws GpuError when the device is lost or has no memory for operands of 20 MB.
 */
export async function tune(gpu: Gpu, options: TuneOptions = {}): Promise<TuneReport> {
  const { classes = USUAL_CLASSES, budgetMs = BUDGET_MS, onProgress, onChoice, signal } = options;
  const report: TuneReport = { choices: {}, timings: [], rejected: [], skipped: [] };
  const clock = new Clock(budgetMs);
  using matmuls = new MatmulOperands(gpu, { signal });
  using attentions = new AttentionOperands(gpu, signal);
  const shared = { timing: TIMING, defaultAdvantage: DEFAULT_ADVANTAGE, signal };
  const benchmarks = classes.map(({ family, shape }) =>
    family === "matmul"
      ? new Benchmark(gpu, MATMUL_FAMILY, shape, matmuls.workload(shape), { ...shared, among: options.matmuls })
      : new Benchmark(gpu, ATTENTION_FAMILY, shape, attentions.workload(shape), {
          ...shared,
          among: options.attentions,
        }),
  );
  const total = benchmarks.reduce((sum, { candidates }) => sum + candidates.length, 0);
  let done = 0;
  for (const [index, benchmark] of benchmarks.entries()) {
    const key = keyOf(classes[index] as KernelClass);
    const { candidates } = benchmark;
    clock.startBenchmark(benchmarks.length - index);
    for (const { name } of candidates) {
      signal?.throwIfAborted();
      if (!clock.hasTime()) break;
      await abortable(Promise.resolve(onProgress?.({ class: key, kernel: name, done, total })), signal);
      await clock.count(() => benchmark.timeNext());
      done += 1;
    }
    const isDecided = benchmark.attempts >= Math.min(2, candidates.length);
    if (isDecided) {
      const { name: choice } = await benchmark.fastestRight();
      report.choices[key] = choice;
      report.timings.push({ class: key, default: candidates[0].name, choice, kernels: benchmark.timings });
      onChoice?.(key, choice);
    } else report.skipped.push(key);
    report.rejected.push(...benchmark.rejected.map((each) => ({ class: key, ...each })));
  }
  applyChoices(gpu, report.choices);
  return report;
}

/** The budget, and how benchmarks share it: a kernel that would probably end too late does not start. */
class Clock {
  readonly #deadline: number;
  #benchmarkEnd = 0;
  /** Kernels of the benchmark so far. */
  #counted = 0;
  /** The longest that a kernel took so far, compiling included. */
  #longest = 0;

  constructor(budgetMs: number) {
    this.#deadline = performance.now() + budgetMs;
  }

  /** Begins the first of `left` benchmarks: it may take a third of the time, or twice its share if that is more. */
  startBenchmark(left: number): void {
    const now = performance.now();
    this.#benchmarkEnd = Math.min(this.#deadline, now + Math.max(1 / 3, 2 / left) * (this.#deadline - now));
    this.#counted = 0;
  }

  /** Whether there is time for one more; the first two, without whom nothing is decided, may use all that is left. */
  hasTime(): boolean {
    return performance.now() + this.#longest < (this.#counted < 2 ? this.#deadline : this.#benchmarkEnd);
  }

  async count(work: () => Promise<void>): Promise<void> {
    const started = performance.now();
    await work();
    this.#longest = Math.max(this.#longest, performance.now() - started);
    this.#counted += 1;
  }
}
