/**
 * The tuner: which product is the fastest on this adapter, found by timing.
 *
 * A class of shapes (rows, layout and storage of the weights) is a race. The default of the adapter starts, every other
 * product that fits follows, each multiplies the same random matrix, and the fastest is held against the reference
 * kernel before it is chosen: what is wrong loses, however fast. The default keeps its place unless another beats it by
 * 5%, so that noise alone seldom chooses.
 *
 * All races share one budget of time. Compiling counts, and is most of it on CPUs: SwiftShader takes 0.1 to 0.9 s for a
 * block kernel. So decoding and prompts race first, kernels like the default before others, and no race takes more than
 * twice its share of what is left. A class that was not reached keeps its default. Pipelines come from the cache that the
 * engine uses, and stay there.
 *
 * One run is many dispatches in one submission, enough for 12 ms of work: a wait costs up to 12 ms more under Deno, which
 * is the same for everybody.
 */
import type { Gpu } from "../gpu/gpu.ts";
import { Recorder } from "../gpu/recorder.ts";
import { applyChoices, type Choices, classKey, ROW_CLASSES, type RowClass, type ShapeClass } from "./choices.ts";
import { matmul } from "./ops.ts";
import { defaultProduct, fits, PRODUCTS, type Product, REFERENCE_PRODUCT } from "./products.ts";
import { errorOf, isRefused, Operands, SIDE, TOLERANCE } from "./tuner-operands.ts";
import { ELEMENT_BYTES, type Matrix, type Weights } from "./weights.ts";

/** One product's time in a race. */
export interface ProductTiming {
  product: string;
  /** Of one product of `rows.typical` rows with a 768 x 768 matrix. */
  ms: number;
  /** 1e9 floating-point operations a second, a multiply-add being two. */
  gflops: number;
  /** Weights read, in 1e9 bytes a second. */
  gigabytesPerSecond: number;
}

/** How one class was decided. */
export interface ClassTimings {
  class: string;
  /** The product that the class would take untuned. */
  default: string;
  choice: string;
  /** In the order in which they ran; those that the budget left no time for are absent. */
  products: ProductTiming[];
}

/** What `tune` found. */
export interface TuneReport {
  /** Names of products by class. */
  choices: Choices;
  timings: ClassTimings[];
  /** Products that were fast and wrong, or that the driver does not take. */
  rejected: { class: string; product: string; reason: string }[];
  /** Classes that the budget did not reach, or left no time to compare anything in: they keep what they had. */
  skipped: string[];
}

/** The race that is on. */
export interface TuneProgress {
  class: string;
  product: string;
  /** Products timed or passed over so far, of all that there are. */
  done: number;
  total: number;
}

export interface TuneOptions {
  /** Default: f32 in both layouts, any number of rows. */
  classes?: readonly ShapeClass[];
  /** Milliseconds for all classes together; what began within them is finished, and checked. Default 3000. */
  budgetMs?: number;
  onProgress?: ((progress: TuneProgress) => void) | undefined;
  /** Ends with `signal.reason`; nothing is chosen then. */
  signal?: AbortSignal | undefined;
  /** Default: all there are. */
  products?: readonly Product[];
}

const BUDGET_MS = 3000;
/** Work of one run, and its dispatches at most. */
const RUN_MS = 12;
const MOST_REPEATS = 200;
const RUNS = 3;
/** Who takes this many times as long as the leader is not run again: for a whole run, and for a single dispatch. */
const BEATEN = 2;
const HOPELESS = 4;
/** What the default's time is multiplied by: another must beat that. */
const HOME_ADVANTAGE = 0.95;
/** Decoding and prompts first. */
const ROWS_IN_ORDER = [...ROW_CLASSES].sort((a, b) => urgency(b) - urgency(a));

function urgency({ most }: RowClass): number {
  return most === 1 ? 2 : Number(most === Number.POSITIVE_INFINITY);
}

/** The classes of a model's products, most urgent first; those of the matrices with most elements before others. */
export function classesOf({ W_U, blocks }: Pick<Weights, "W_U" | "blocks">): ShapeClass[] {
  const matrices = blocks.flatMap(({ qkv, W_O, W_gate, W_in, W_out }) => [qkv, W_O, W_gate, W_in, W_out]);
  const elements = new Map<string, { kind: Pick<Matrix, "layout" | "storage">; count: number }>();
  for (const matrix of [...matrices, W_U]) {
    if (!matrix) continue;
    const { layout, storage, width, outWidth } = matrix;
    const key = `${layout} ${storage}`;
    const count = (elements.get(key)?.count ?? 0) + width * outWidth;
    elements.set(key, { kind: { layout, storage }, count });
  }
  const kinds = [...elements.values()].sort((a, b) => b.count - a.count).map(({ kind }) => kind);
  return ROWS_IN_ORDER.flatMap((rows) => kinds.map((kind) => ({ rows, ...kind })));
}

/** What is tuned when no model says otherwise. */
const USUAL_CLASSES: readonly ShapeClass[] = ROWS_IN_ORDER.flatMap((rows) =>
  (["linear", "conv1d"] as const).map((layout) => ({ rows, layout, storage: "f32" as const })),
);

/** The key of a class in `Choices`. */
export function keyOf({ rows, layout, storage }: ShapeClass): string {
  return classKey(rows, layout, storage);
}

/**
 * Times the products of each class on this device, and lets the device use the fastest right ones from now on.
 * @throws GpuError when the device is lost or has no memory for a matrix of 2.4 MB.
 */
export async function tune(gpu: Gpu, options: TuneOptions = {}): Promise<TuneReport> {
  const { classes = USUAL_CLASSES, budgetMs = BUDGET_MS, products = PRODUCTS, onProgress, signal } = options;
  const report: TuneReport = { choices: {}, timings: [], rejected: [], skipped: [] };
  const clock = new Clock(budgetMs);
  const entries = classes.map((shape) => ({ shape, candidates: candidatesOf(gpu, products, shape) }));
  const total = entries.reduce((sum, { candidates }) => sum + candidates.length, 0);
  const operands = new Operands(gpu);
  let done = 0;
  try {
    for (const [index, { shape, candidates }] of entries.entries()) {
      const race = new Race(gpu, operands, shape, report);
      clock.startRace(entries.length - index);
      for (const product of candidates) {
        signal?.throwIfAborted();
        if (!clock.hasTime()) break;
        onProgress?.({ class: race.key, product: product.name, done, total });
        await clock.count(() => race.enter(product));
        done += 1;
      }
      if (race.attempts >= Math.min(2, candidates.length)) await race.decide();
      else report.skipped.push(race.key);
    }
  } finally {
    operands.destroy();
  }
  applyChoices(gpu, report.choices);
  return report;
}

/** Products that the device can run on such a shape: its default, others of its family, others. */
function candidatesOf(gpu: Gpu, products: readonly Product[], { rows, layout }: ShapeClass): Product[] {
  const first = defaultProduct(gpu, rows.typical, layout);
  const others = products.filter((product) => product !== first && fits(gpu, product, rows.typical, layout));
  const isKin = ({ name }: Product) => name.split(" ")[0] === first.name.split(" ")[0];
  return [first, ...others.sort((a, b) => Number(isKin(b)) - Number(isKin(a)))];
}

/** The budget, and how races share it: an entrant that would probably end too late does not start. */
class Clock {
  readonly #deadline: number;
  #raceEnd = 0;
  #isFirst = true;
  /** The longest that an entrant took so far, compiling included. */
  #longest = 0;

  constructor(budgetMs: number) {
    this.#deadline = performance.now() + budgetMs;
  }

  /** Begins a race, the first of `races` that are left: it may take twice its share. */
  startRace(races: number): void {
    const now = performance.now();
    this.#raceEnd = Math.min(this.#deadline, now + (2 * (this.#deadline - now)) / races);
    this.#isFirst = true;
  }

  /** Whether there is time for one more; the first of a race may use all that is left. */
  hasTime(): boolean {
    return performance.now() + this.#longest < (this.#isFirst ? this.#deadline : this.#raceEnd);
  }

  async count(work: () => Promise<void>): Promise<void> {
    const started = performance.now();
    await work();
    this.#longest = Math.max(this.#longest, performance.now() - started);
    this.#isFirst = false;
  }
}

interface Entrant {
  product: Product;
  ms: number;
}

/** The products of one class, one after the other. */
class Race {
  readonly key: string;
  /** Products that entered, rejected ones included. */
  attempts = 0;
  readonly #home: Product;
  readonly #entrants: Entrant[] = [];
  /** Dispatches of a run: found by the first entrant, and then everybody's. */
  #repeats = 0;
  /** Times of the leader: of one dispatch, and of a run. */
  #bestSingle = Number.POSITIVE_INFINITY;
  #bestRun = Number.POSITIVE_INFINITY;

  constructor(
    private readonly gpu: Gpu,
    private readonly operands: Operands,
    private readonly shape: ShapeClass,
    private readonly report: TuneReport,
  ) {
    this.key = keyOf(shape);
    this.#home = defaultProduct(gpu, shape.rows.typical, shape.layout);
  }

  /** Times a product, or rejects it when the driver does. */
  async enter(product: Product): Promise<void> {
    this.attempts += 1;
    try {
      await this.#run(product, 1); // compiles
      this.#entrants.push({ product, ms: await this.#time(product) });
    } catch (error) {
      if (!isRefused(error)) throw error;
      this.#reject(product, error.message);
    }
  }

  /** Chooses, and writes the report. */
  async decide(): Promise<void> {
    const { key, report } = this;
    await this.#timeHomeAgain();
    const choice = await this.#fastestRight();
    report.choices[key] = choice.name;
    const products = this.#entrants.map(({ product, ms }) => this.#timing(product, ms));
    report.timings.push({ class: key, default: this.#home.name, choice: choice.name, products });
  }

  /** The default ran while a GPU may still have slept: before it loses, it runs again. */
  async #timeHomeAgain(): Promise<void> {
    const home = this.#entrants.find(({ product }) => product === this.#home);
    if (home && this.#ranking()[0] !== home) home.ms = Math.min(home.ms, await this.#time(home.product));
  }

  #ranking(): Entrant[] {
    const weighed = ({ product, ms }: Entrant) => ms * (product === this.#home ? HOME_ADVANTAGE : 1);
    return [...this.#entrants].sort((a, b) => weighed(a) - weighed(b));
  }

  /** The fastest that computes what the reference does; the reference itself when there is none. */
  async #fastestRight(): Promise<Product> {
    for (const { product } of this.#ranking()) {
      const error = await errorOf(this.operands, product, this.shape);
      if (error < TOLERANCE) return product;
      this.#reject(product, `differs from the reference by ${error.toPrecision(2)} of the largest value`);
    }
    return REFERENCE_PRODUCT;
  }

  #reject({ name }: Product, reason: string): void {
    this.report.rejected.push({ class: this.key, product: name, reason });
  }

  /** Milliseconds a product: the best of three runs, or of fewer when it is beaten already. */
  async #time(product: Product): Promise<number> {
    let single = await this.#run(product, 1);
    const hopeless = HOPELESS * this.#bestSingle;
    if (single > hopeless) single = Math.min(single, await this.#run(product, 1)); // the machine may have hiccuped
    if (single > hopeless) return single;
    this.#bestSingle = Math.min(this.#bestSingle, single);
    this.#repeats ||= await this.#findRepeats(product, single);
    let best = Number.POSITIVE_INFINITY;
    for (let run = 0; run < RUNS; run++) {
      best = Math.min(best, await this.#run(product, this.#repeats));
      if (best > BEATEN * this.#bestRun) break;
    }
    this.#bestRun = Math.min(this.#bestRun, best);
    return best / this.#repeats;
  }

  /** How many dispatches are `RUN_MS` of work; the difference of two runs is without the wait. */
  async #findRepeats(product: Product, single: number): Promise<number> {
    if (single > 2 * RUN_MS) return 1;
    const each = ((await this.#run(product, 5)) - single) / 4;
    return Math.min(MOST_REPEATS, Math.max(1, Math.round(RUN_MS / Math.max(each, 1e-3))));
  }

  async #run(product: Product, repeats: number): Promise<number> {
    const { rows } = this.shape;
    const W = this.operands.matrix(this.shape, SIDE, SIDE);
    const { x, out } = this.operands;
    const started = performance.now();
    await Recorder.run(this.gpu, `timing of ${product.name}`, (recorder) => {
      for (let i = 0; i < repeats; i++) matmul(recorder, x, rows.typical, W, out, { product });
    });
    await this.gpu.idle();
    return performance.now() - started;
  }

  #timing({ name }: Product, ms: number): ProductTiming {
    const { rows, storage } = this.shape;
    const perSecond = (count: number) => count / ms / 1e6;
    return {
      product: name,
      ms,
      gflops: perSecond(2 * rows.typical * SIDE * SIDE),
      gigabytesPerSecond: perSecond(ELEMENT_BYTES[storage] * SIDE * SIDE),
    };
  }
}
