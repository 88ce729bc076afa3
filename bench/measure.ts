/** Timing: sides interleaved in one run, since a machine's speed drifts; medians after a warm-up. */
import { median } from "../src/bench/statistics.ts";
import type { AdapterInfo } from "../src/index.ts";

export interface Side {
  name: string;
  run(): Promise<void>;
}

export interface Measured {
  name: string;
  /** Milliseconds of each counted run. */
  runs: number[];
  median: number;
}

/** Runs all sides once to warm up, then `rounds` times in turn. */
export async function interleave(sides: readonly Side[], rounds = 5): Promise<Measured[]> {
  for (const side of sides) await side.run();
  const runs = sides.map(() => [] as number[]);
  for (let round = 0; round < rounds; round++) {
    for (const [index, side] of sides.entries()) {
      const start = performance.now();
      await side.run();
      (runs[index] as number[]).push(performance.now() - start);
    }
  }
  return sides.map(({ name }, index) => ({
    name,
    runs: runs[index] as number[],
    median: median(runs[index] as number[]),
  }));
}

/** The median over rounds of the ratio within each round, which is steadier than the ratio of medians. */
export function ratio(measured: readonly Measured[], name: string, against: string): number {
  const find = (wanted: string) => (measured.find((candidate) => candidate.name === wanted) as Measured).runs;
  const [top, bottom] = [find(name), find(against)];
  return median(top.map((time, round) => time / (bottom[round] as number)));
}

export interface Bound {
  name: string;
  measured: number;
  bound: number;
  /** Whether `measured` must be at most or at least the bound. */
  sense: "at most" | "at least";
  ok: boolean;
  /** What was timed, in milliseconds unless its name says otherwise. */
  detail: Record<string, number>;
}

export function bound(
  name: string,
  measured: number,
  sense: Bound["sense"],
  limit: number,
  detail: Bound["detail"],
): Bound {
  return {
    name,
    measured,
    bound: limit,
    sense,
    ok: sense === "at most" ? measured <= limit : measured >= limit,
    detail,
  };
}

/** Prints the bounds as a table, or as JSON with the adapter. */
export function report(bounds: readonly Bound[], adapter: AdapterInfo, json: boolean): void {
  if (json) {
    console.log(
      JSON.stringify({ adapter: adapter.name, kind: adapter.kind, host: adapter.host, bounds }, undefined, 2),
    );
    return;
  }
  console.log(`${adapter.name} (${adapter.kind}, ${adapter.host})`);
  for (const { name, measured, bound: limit, sense, ok } of bounds) {
    console.log(`${ok ? "ok  " : "MISS"} ${measured.toFixed(3).padStart(8)}  ${sense} ${limit}  ${name}`);
  }
}
