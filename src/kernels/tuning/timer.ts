/**
 * How kernels are timed, for the tuner and for the ceilings of `superlens bench`.
 *
 * One run is many dispatches in one submission, since a host may learn late that a submission has ended: Deno looks every
 * 12 ms. The first kernel decides how many, and every later kernel runs as many, so the wait is the same for all. A kernel
 * that is much slower than the best so far is not run again.
 */
import { abortable } from "../../abort.ts";
import type { Gpu } from "../../gpu/gpu.ts";
import { Recorder } from "../../gpu/recorder.ts";

/** Records one dispatch of a kernel; `repetition`: how often it was recorded before in this run. */
export type RecordOnce = (recorder: Recorder, repetition: number) => void;

/** What is timed, and how often. */
export interface Timing {
  /** Milliseconds of work of a run, and its dispatches at most. */
  readonly runMs: number;
  readonly mostRepeats: number;
  readonly runs: number;
  /** What counts of several runs: the best, or the median. */
  readonly summary: (times: readonly number[]) => number;
  /** What is taken off each run, as the wait for the news of its end. */
  readonly waitMs?: number;
}

/** Who takes this many times as long as the best is not run again: for a whole run, and for a single dispatch. */
const BEATEN = 2;
const HOPELESS = 4;

/** Times kernels that compute the same thing. */
export class Timer {
  /** Dispatches of a run: found by the first kernel, and then everybody's. */
  #repeats = 0;
  /** Times of the best so far: of a single dispatch, and of a run. */
  #bestSingle = Number.POSITIVE_INFINITY;
  #bestRun = Number.POSITIVE_INFINITY;

  constructor(
    private readonly gpu: Gpu,
    /** For errors. */
    private readonly what: string,
    private readonly timing: Timing,
    private readonly signal?: AbortSignal | undefined,
  ) {}

  /** Milliseconds a dispatch, compiled before; only roughly for a kernel that is beaten already. */
  async time(record: RecordOnce): Promise<number> {
    const hopeless = HOPELESS * this.#bestSingle;
    let single = await this.run(record, 1);
    if (single > hopeless) single = Math.min(single, await this.run(record, 1)); // the machine may have hiccuped
    if (single > hopeless) return single;
    this.#bestSingle = Math.min(this.#bestSingle, single);
    this.#repeats ||= await this.#findRepeats(record, single);
    const { runs, summary } = this.timing;
    const times: number[] = [];
    while (times.length < runs) {
      times.push(await this.run(record, this.#repeats));
      if (summary(times) > BEATEN * this.#bestRun) break;
    }
    const whole = summary(times);
    this.#bestRun = Math.min(this.#bestRun, whole);
    return whole / this.#repeats;
  }

  /** Times kernels again in turn, as a machine may have changed its speed between them. Milliseconds a dispatch of each. */
  async timeInTurn(records: readonly RecordOnce[]): Promise<number[]> {
    const times = records.map((): number[] => []);
    for (let run = 0; run < this.timing.runs; run++) {
      for (const [index, record] of records.entries()) {
        times[index]?.push((await this.run(record, this.#repeats)) / this.#repeats);
      }
    }
    return times.map(this.timing.summary);
  }

  /** How many dispatches are `runMs` of work; the difference of two runs is without the wait. */
  async #findRepeats(record: RecordOnce, single: number): Promise<number> {
    const { runMs, mostRepeats } = this.timing;
    if (single > 2 * runMs) return 1;
    const each = ((await this.run(record, 5)) - single) / 4;
    return Math.min(mostRepeats, Math.max(1, Math.round(runMs / Math.max(each, 1e-3))));
  }

  /** Milliseconds of one run of so many dispatches. */
  async run(record: RecordOnce, repeats: number): Promise<number> {
    const { waitMs = 0 } = this.timing;
    const started = performance.now();
    const recordAll = (recorder: Recorder) => {
      for (let repetition = 0; repetition < repeats; repetition++) record(recorder, repetition);
    };
    await Recorder.run(this.gpu, `timing of ${this.what}`, recordAll, { signal: this.signal });
    await abortable(this.gpu.idle(), this.signal);
    const ms = performance.now() - started;
    return Math.max(ms - waitMs, ms / 10);
  }
}
