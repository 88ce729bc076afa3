/**
 * Times one test: a warm-up apart, then the runs, then the check of everything they gave. The check comes last, so that
 * its own passes disturb neither times nor memory.
 */
import type { Counters } from "../gpu/counters.ts";
import type { Gpu } from "../gpu/gpu.ts";
import type { Reference } from "./reference.ts";
import type { Ceilings, TestResult } from "./report.ts";
import { median } from "./statistics.ts";
import type { BenchTest, Check } from "./tests.ts";

export interface MeasureOptions {
  runs: number;
  ceilings: Ceilings | undefined;
  signal: AbortSignal | undefined;
  /** Told what comes next. */
  onDetail: (detail: string) => void;
}

export async function measureTest(
  gpu: Gpu,
  test: BenchTest,
  reference: Reference,
  { runs, ceilings, signal, onDetail }: MeasureOptions,
): Promise<TestResult> {
  gpu.pool.trim();
  gpu.resetPeak();
  onDetail("warm-up");
  const checks = [await test.run()];
  const times: number[] = [];
  const before = { ...gpu.counters };
  for (let run = 1; run <= runs; run++) {
    signal?.throwIfAborted();
    onDetail(`run ${run} of ${runs}`);
    const started = performance.now();
    checks.push(await test.run());
    times.push(performance.now() - started);
  }
  const work = perRun(before, gpu.counters, runs);
  const { peakBytes } = gpu;
  onDetail("checking the output");
  const largestError = await worstOf(checks, reference);
  return {
    ...resultOf(test, times, work),
    ...fractionOf(work, median(times), ceilings),
    peakBytes,
    check: "ok",
    largestError,
  };
}

async function worstOf(checks: readonly Check[], reference: Reference): Promise<number> {
  let worst = 0;
  for (const check of checks) worst = Math.max(worst, await check(reference));
  return worst;
}

function perRun(before: Counters, after: Counters, runs: number): Counters {
  const per = (name: keyof Counters) => (after[name] - before[name]) / runs;
  return {
    dispatches: per("dispatches"),
    submits: per("submits"),
    operations: per("operations"),
    weightBytes: per("weightBytes"),
  };
}

function resultOf({ plan }: BenchTest, runs: readonly number[], work: Counters) {
  const { name, batch, tokens, depth } = plan;
  const medianMs = median(runs);
  const all = tokens * batch;
  return {
    name,
    batch,
    tokens,
    depth,
    runs: [...runs],
    medianMs,
    spread: { minMs: Math.min(...runs), maxMs: Math.max(...runs) },
    tokensPerSecond: (1000 * all) / medianMs,
    operations: work.operations,
    gflops: work.operations / (1e6 * medianMs),
    bytesReadPerToken: work.weightBytes / all,
    dispatchesPerToken: work.dispatches / all,
    submitsPerToken: work.submits / all,
  };
}

/**
 * The shortest time that the ceilings allow, as a part of the time taken: no run can do its operations faster than the
 * best product does, nor read its weights faster than the best product of one row. The longer of the two bounds it.
 */
export function fractionOf(
  { operations, weightBytes }: Pick<Counters, "operations" | "weightBytes">,
  ms: number,
  ceilings: Ceilings | undefined,
): Pick<TestResult, "fractionOfCeiling" | "boundBy"> {
  if (!ceilings) return {};
  const productMs = operations / (1e6 * ceilings.product.gflops);
  const weightMs = weightBytes / (1e6 * ceilings.weights.gigabytesPerSecond);
  return {
    fractionOfCeiling: Math.max(productMs, weightMs) / ms,
    boundBy: productMs > weightMs ? "products" : "weights",
  };
}
