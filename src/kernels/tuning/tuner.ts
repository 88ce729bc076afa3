/**
 * The tuner: which product and which attention is the fastest on this adapter, found by timing.
 *
 * A class of work is a race: of products the rows, layout and storage of the weights, of attention the kind of pass and
 * the width of heads. The default of the adapter starts, every other kernel that fits follows, each computes the same, and
 * the fastest is held against the reference before it is chosen: what is wrong loses, however fast. The default keeps its
 * place unless another beats it by 5%, so that noise alone seldom chooses.
 *
 * All races share one budget of time. Compiling counts, and is most of it on CPUs: SwiftShader takes 0.1 to 0.9 s for a
 * block kernel. So decoding and then prompts race first, kernels like the default before others, and no race takes more
 * than a third of what is left, or twice its share, unless its first two kernels need longer. A class that was not reached
 * keeps its default. Pipelines come from the cache that the engine uses, and stay there.
 *
 * One run is many dispatches in one submission, enough for 12 ms of work: a wait costs up to 12 ms more under Deno, which
 * is the same for everybody.
 */
import { abortable } from "../../abort.ts";
import { Gpu } from "../../gpu/gpu.ts";
import { Recorder } from "../../gpu/recorder.ts";
import type { ModelSpec } from "../../model/spec.ts";
import type { Weights } from "../../model/weights/weights.ts";
import * as s from "../../schema/schema.ts";
import { type Attention, type AttentionClass, chosenAttention, PASSES, type PassKind } from "../attention.ts";
import { applyChoices, type Choices } from "../choices.ts";
import type { Product } from "../matmul.ts";
import { chosenProduct, type ProductClass, ROW_CLASSES } from "../matmul-choice.ts";
import type { Matrix } from "../matrix.ts";
import { AttentionOperands, attentionContest } from "./attention.ts";
import { type Candidate, type Contest, isRefused, TOLERANCE } from "./contest.ts";
import { ProductOperands, productContest } from "./products.ts";

/** What a kernel is chosen for. */
export type KernelClass = ProductClass | AttentionClass;

/** One kernel's time in a race. */
export interface KernelTiming {
  kernel: string;
  /** Of one product of `rows.typical` rows with a 768 x 768 matrix, or one attention of heads 768 wide in all. */
  ms: number;
  /** 1e9 floating-point operations a second, a multiply-add being two. */
  gflops: number;
  /** Weights, or keys and values, in 1e9 bytes a second. */
  gigabytesPerSecond: number;
}

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

/** The race that is on. */
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
  /** Default: all there are. */
  products?: readonly Product[];
  /** Default: all there are. */
  attentions?: readonly Attention[];
}

const productClass = s.object<ProductClass>("a class of products", {
  rows: s.required(s.simple("one of ROW_CLASSES", (value) => (ROW_CLASSES as readonly unknown[]).includes(value))),
  layout: s.required(s.oneOf("linear", "conv1d")),
  storage: s.required(s.oneOf("f32", "f16", "bf16")),
});
const attentionClass = s.object<AttentionClass>("a class of attention", {
  pass: s.required(s.oneOf(...(Object.keys(PASSES) as PassKind[]))),
  dHead: s.required(s.wholeFrom(1)),
});
/** A kernel of the tables, or one that a test made like them. */
const kernel = <T>(what: string) =>
  s.simple<T>(what, (value) => typeof value === "object" && value !== null && "name" in value);

export const TUNE_OPTIONS = s.object<TuneOptions>("the options of tune", {
  classes: s.list<KernelClass>(
    "classes of kernels",
    s.byForm<KernelClass>("a class of products or of attention", (value) =>
      typeof value !== "object" || value === null ? undefined : "pass" in value ? attentionClass : productClass,
    ),
  ),
  budgetMs: s.notNegative,
  onProgress: s.callback,
  onChoice: s.callback,
  signal: s.signal,
  products: s.list("products", kernel<Product>("a product")),
  attentions: s.list("attentions", kernel<Attention>("an attention")),
} satisfies s.Fields<TuneOptions>);

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

type MatrixKind = Pick<Matrix, "layout" | "storage">;

/** The classes of a model's products and attention, most urgent first; of the matrices with most elements before others. */
export function classesOf({ W_U, blocks }: Pick<Weights, "W_U" | "blocks">, { dHead }: ModelSpec): KernelClass[] {
  const matrices = blocks.flatMap(({ qkv, W_O, W_gate, W_in, W_out }) => [qkv, W_O, W_gate, W_in, W_out]);
  const elements = new Map<string, { kind: MatrixKind; count: number }>();
  for (const matrix of [...matrices, W_U]) {
    if (!matrix) continue;
    const { layout, storage, width, outWidth } = matrix;
    const key = `${layout} ${storage}`;
    const count = (elements.get(key)?.count ?? 0) + width * outWidth;
    elements.set(key, { kind: { layout, storage }, count });
  }
  const kinds = [...elements.values()].sort((a, b) => b.count - a.count).map(({ kind }) => kind);
  return inOrder(kinds, dHead);
}

/** Decoding first, whose kernels compile fast; then prompts. Products before attention, which takes less of both. */
function inOrder(kinds: readonly MatrixKind[], dHead: number): KernelClass[] {
  const [one, few, several, dozens, many] = ROW_CLASSES;
  const products = (rows: ProductClass["rows"]) => kinds.map((kind) => ({ rows, ...kind }));
  const attention = (pass: AttentionClass["pass"]) => ({ pass, dHead });
  return [
    ...[...products(one), attention("few rows"), ...products(many), attention("prompts")],
    ...[...products(few), ...products(several), ...products(dozens), attention("few rows, many keys")],
  ];
}

/** What is tuned when no model says otherwise. */
const USUAL_CLASSES = inOrder(
  (["linear", "conv1d"] as const).map((layout) => ({ layout, storage: "f32" })),
  64,
);

/** Whether the device has a choice for the class. */
export function isTuned(gpu: Gpu, wanted: KernelClass): boolean {
  return ("pass" in wanted ? chosenAttention(gpu, wanted) : chosenProduct(gpu, wanted)) !== undefined;
}

/**
 * Times the kernels of each class on this device, and lets the device use the fastest right ones from now on.
 * @throws GpuError when the device is lost or has no memory for operands of 20 MB.
 */
export async function tune(gpu: Gpu, options: TuneOptions = {}): Promise<TuneReport> {
  s.readArgument(s.instance("a Gpu", Gpu), gpu, "tune", "gpu");
  const {
    classes = USUAL_CLASSES,
    budgetMs = BUDGET_MS,
    onProgress,
    onChoice,
    signal,
    ...kernels
  } = s.readOptions(TUNE_OPTIONS, options, "tune");
  const report: TuneReport = { choices: {}, timings: [], rejected: [], skipped: [] };
  const clock = new Clock(budgetMs);
  using products = new ProductOperands(gpu, signal);
  using attentions = new AttentionOperands(gpu, signal);
  const contests = classes.map((wanted) =>
    "pass" in wanted
      ? attentionContest(attentions, wanted, kernels.attentions)
      : productContest(products, wanted, kernels.products),
  );
  const total = contests.reduce((sum, { candidates }) => sum + candidates.length, 0);
  let done = 0;
  for (const [index, contest] of contests.entries()) {
    const { key, candidates } = contest;
    const race = new Race(gpu, contest, report, signal);
    clock.startRace(contests.length - index);
    for (const candidate of candidates) {
      signal?.throwIfAborted();
      if (!clock.hasTime()) break;
      await abortable(Promise.resolve(onProgress?.({ class: key, kernel: candidate.name, done, total })), signal);
      await clock.count(() => race.enter(candidate));
      done += 1;
    }
    if (race.attempts >= Math.min(2, candidates.length)) {
      const kernel = await race.decide();
      onChoice?.(key, kernel);
    } else report.skipped.push(key);
  }
  applyChoices(gpu, report.choices);
  return report;
}

/** The budget, and how races share it: an entrant that would probably end too late does not start. */
class Clock {
  readonly #deadline: number;
  #raceEnd = 0;
  /** Entrants of the race so far. */
  #entered = 0;
  /** The longest that an entrant took so far, compiling included. */
  #longest = 0;

  constructor(budgetMs: number) {
    this.#deadline = performance.now() + budgetMs;
  }

  /** Begins a race, the first of `races` that are left: it may take a third of the time, or twice its share if that is more. */
  startRace(races: number): void {
    const now = performance.now();
    this.#raceEnd = Math.min(this.#deadline, now + Math.max(1 / 3, 2 / races) * (this.#deadline - now));
    this.#entered = 0;
  }

  /** Whether there is time for one more; the first two of a race, without whom it decides nothing, may use all that is left. */
  hasTime(): boolean {
    return performance.now() + this.#longest < (this.#entered < 2 ? this.#deadline : this.#raceEnd);
  }

  async count(work: () => Promise<void>): Promise<void> {
    const started = performance.now();
    await work();
    this.#longest = Math.max(this.#longest, performance.now() - started);
    this.#entered += 1;
  }
}

interface Entrant {
  candidate: Candidate;
  ms: number;
}

/** The kernels of one contest, one after the other. */
class Race {
  /** Kernels that entered, rejected ones included. */
  attempts = 0;
  readonly #entrants: Entrant[] = [];
  /** Dispatches of a run: found by the first entrant, and then everybody's. */
  #repeats = 0;
  /** Times of the leader: of one dispatch, and of a run. */
  #bestSingle = Number.POSITIVE_INFINITY;
  #bestRun = Number.POSITIVE_INFINITY;

  constructor(
    private readonly gpu: Gpu,
    private readonly contest: Contest,
    private readonly report: TuneReport,
    private readonly signal: AbortSignal | undefined,
  ) {}

  /** Times a kernel, or rejects it when the driver does. */
  async enter(candidate: Candidate): Promise<void> {
    this.attempts += 1;
    try {
      await this.#run(candidate, 1); // compiles
      this.#entrants.push({ candidate, ms: await this.#time(candidate) });
    } catch (error) {
      if (!isRefused(error)) throw error;
      this.#reject(candidate, error.message);
    }
  }

  /** Chooses, and writes the report. Gives the name of the kernel. */
  async decide(): Promise<string> {
    const { key } = this.contest;
    await this.#rematch();
    const choice = await this.#fastestRight();
    this.report.choices[key] = choice;
    const kernels = this.#entrants.map(({ candidate, ms }) => this.#timing(candidate, ms));
    this.report.timings.push({ class: key, default: this.#home.name, choice, kernels });
    return choice;
  }

  get #home(): Candidate {
    return this.contest.candidates[0];
  }

  /**
   * Before the default loses, it runs again, in turn with who is faster: it was the first, and a GPU may still have slept
   * or a machine changed its speed since.
   */
  async #rematch(): Promise<void> {
    const home = this.#entrants.find(({ candidate }) => candidate === this.#home);
    const met = new Set([home]);
    for (let leader = this.#ranking()[0]; home && leader && !met.has(leader); leader = this.#ranking()[0]) {
      met.add(leader);
      const pair = [home, leader];
      for (const entrant of pair) entrant.ms = Number.POSITIVE_INFINITY;
      for (let run = 0; run < RUNS; run++) {
        for (const entrant of pair) {
          entrant.ms = Math.min(entrant.ms, (await this.#run(entrant.candidate, this.#repeats)) / this.#repeats);
        }
      }
    }
  }

  #ranking(): Entrant[] {
    const weighed = ({ candidate, ms }: Entrant) => ms * (candidate === this.#home ? HOME_ADVANTAGE : 1);
    return [...this.#entrants].sort((a, b) => weighed(a) - weighed(b));
  }

  /** The fastest that computes what the reference does; the reference itself when there is none. */
  async #fastestRight(): Promise<string> {
    for (const { candidate } of this.#ranking()) {
      const error = await candidate.error();
      if (error < TOLERANCE) return candidate.name;
      this.#reject(candidate, `differs from the reference by ${error.toPrecision(2)} of the largest value`);
    }
    return this.contest.reference;
  }

  #reject({ name }: Candidate, reason: string): void {
    this.report.rejected.push({ class: this.contest.key, kernel: name, reason });
  }

  /** Milliseconds a dispatch: the best of three runs, or of fewer when it is beaten already. */
  async #time(candidate: Candidate): Promise<number> {
    let single = await this.#run(candidate, 1);
    const hopeless = HOPELESS * this.#bestSingle;
    if (single > hopeless) single = Math.min(single, await this.#run(candidate, 1)); // the machine may have hiccuped
    if (single > hopeless) return single;
    this.#bestSingle = Math.min(this.#bestSingle, single);
    this.#repeats ||= await this.#findRepeats(candidate, single);
    let best = Number.POSITIVE_INFINITY;
    for (let run = 0; run < RUNS; run++) {
      best = Math.min(best, await this.#run(candidate, this.#repeats));
      if (best > BEATEN * this.#bestRun) break;
    }
    this.#bestRun = Math.min(this.#bestRun, best);
    return best / this.#repeats;
  }

  /** How many dispatches are `RUN_MS` of work; the difference of two runs is without the wait. */
  async #findRepeats(candidate: Candidate, single: number): Promise<number> {
    if (single > 2 * RUN_MS) return 1;
    const each = ((await this.#run(candidate, 5)) - single) / 4;
    return Math.min(MOST_REPEATS, Math.max(1, Math.round(RUN_MS / Math.max(each, 1e-3))));
  }

  async #run(candidate: Candidate, repeats: number): Promise<number> {
    const started = performance.now();
    const record = (recorder: Recorder) => {
      for (let i = 0; i < repeats; i++) candidate.record(recorder);
    };
    await Recorder.run(this.gpu, `timing of ${candidate.name}`, record, this.signal);
    await abortable(this.gpu.idle(), this.signal);
    return performance.now() - started;
  }

  #timing({ name }: Candidate, ms: number): KernelTiming {
    const { operations, bytes } = this.contest;
    return { kernel: name, ms, gflops: operations / ms / 1e6, gigabytesPerSecond: bytes / ms / 1e6 };
  }
}
