/**
 * Times tests in rounds: a warm-up of each apart, then every test once a round, so that a machine which changes its speed
 * does so for all of them, and the ceilings beside each run. The check comes last, so that its own passes disturb neither
 * times nor memory.
 */
import { type Counters, newCounters } from "../gpu/counters.ts";
import type { Gpu } from "../gpu/gpu.ts";
import type { CeilingProbe, Rates } from "./ceilings.ts";
import type { Reference } from "./reference.ts";
import type { TestResult } from "./report.ts";
import { median } from "./statistics.ts";
import type { BenchTest, Check } from "./tests.ts";

export interface MeasureOptions {
  runs: number;
  /** Made after the warm-ups, whose memory is what counts. */
  findCeilings: (() => Promise<CeilingProbe>) | undefined;
  signal: AbortSignal | undefined;
  /** Told which test comes next, and what of it. */
  onDetail: (test: string, detail: string) => void;
}

/** One test as far as it got. */
interface Entry {
  test: BenchTest;
  peakBytes: number;
  checks: Check[];
  times: number[];
  /** The ceilings before and after each run, averaged. */
  rates: Rates[];
  work: Counters;
}

export async function measureTests(
  gpu: Gpu,
  tests: readonly BenchTest[],
  reference: Reference,
  { runs, findCeilings, signal, onDetail }: MeasureOptions,
): Promise<TestResult[]> {
  const entries: Entry[] = [];
  const heldBytes = tests.reduce((sum, test) => sum + test.heldBytes, 0);
  for (const test of tests) {
    signal?.throwIfAborted();
    onDetail(test.plan.name, "warm-up");
    entries.push(await warmUp(gpu, test, heldBytes - test.heldBytes));
  }
  const probe = await findCeilings?.();
  try {
    let rates = await probe?.measure();
    for (let run = 1; run <= runs; run++) {
      for (const entry of entries) {
        signal?.throwIfAborted();
        onDetail(entry.test.plan.name, `run ${run} of ${runs}`);
        await timeRun(gpu, entry);
        const next = await probe?.measure();
        if (rates && next) entry.rates.push(meanOf(rates, next));
        rates = next;
      }
    }
  } finally {
    probe?.destroy();
  }
  const results: TestResult[] = [];
  for (const entry of entries) {
    signal?.throwIfAborted();
    onDetail(entry.test.plan.name, "checking the output");
    results.push({ ...resultOf(entry, runs), check: "ok", largestError: await worstOf(entry.checks, reference) });
  }
  return results;
}

/** Runs a test for the first time, and finds the memory it takes: all but what the other tests hold meanwhile. */
async function warmUp(gpu: Gpu, test: BenchTest, othersBytes: number): Promise<Entry> {
  gpu.trim();
  gpu.resetPeak();
  const checks = [await test.run()];
  return { test, peakBytes: gpu.peakBytes - othersBytes, checks, times: [], rates: [], work: newCounters() };
}

async function timeRun(gpu: Gpu, { test, checks, times, work }: Entry): Promise<void> {
  const before = { ...gpu.counters };
  const started = performance.now();
  checks.push(await test.run());
  times.push(performance.now() - started);
  for (const name of Object.keys(work) as (keyof Counters)[]) work[name] += gpu.counters[name] - before[name];
}

function meanOf(a: Rates, b: Rates): Rates {
  return {
    gflops: (a.gflops + b.gflops) / 2,
    gigabytesPerSecond: (a.gigabytesPerSecond + b.gigabytesPerSecond) / 2,
  };
}

async function worstOf(checks: readonly Check[], reference: Reference): Promise<number> {
  let worst = 0;
  for (const check of checks) worst = Math.max(worst, await check(reference));
  return worst;
}

function resultOf({ test, peakBytes, times, rates, work }: Entry, runs: number) {
  const { name, batch, tokens, depth } = test.plan;
  const medianMs = median(times);
  const all = tokens * batch;
  const operations = work.operations / runs;
  const shares = rates.map((each, run) => fractionOf(work, runs * (times[run] as number), each));
  return {
    name,
    batch,
    tokens,
    depth,
    runs: [...times],
    medianMs,
    spread: { minMs: Math.min(...times), maxMs: Math.max(...times) },
    tokensPerSecond: (1000 * all) / medianMs,
    operations,
    gflops: operations / (1e6 * medianMs),
    bytesReadPerToken: work.weightBytes / runs / all,
    dispatchesPerToken: work.dispatches / runs / all,
    submitsPerToken: work.submits / runs / all,
    peakBytes,
    ...medianShare(shares),
  };
}

interface Share {
  fractionOfCeiling: number;
  boundBy: "matmul" | "weights";
}

function medianShare(shares: readonly Share[]): Share | undefined {
  return [...shares].sort((a, b) => a.fractionOfCeiling - b.fractionOfCeiling)[(shares.length - 1) >> 1];
}

/**
 * The shortest time that the ceilings allow, as a part of the time taken: no run can do its operations faster than the
 * best matmul does, nor read its weights faster than the best matmul of one row. The longer of the two bounds it.
 */
export function fractionOf(
  { operations, weightBytes }: Pick<Counters, "operations" | "weightBytes">,
  ms: number,
  { gflops, gigabytesPerSecond }: Rates,
): Share {
  const matmulMs = operations / (1e6 * gflops);
  const weightMs = weightBytes / (1e6 * gigabytesPerSecond);
  return {
    fractionOfCeiling: Math.max(matmulMs, weightMs) / ms,
    boundBy: matmulMs > weightMs ? "matmul" : "weights",
  };
}
