/** What to measure, and the list of tests it comes to. */
import { InputError } from "../errors.ts";
import type { ModelSpec } from "../model/spec.ts";
import * as s from "../schema/schema.ts";

/** What a benchmark measures, and how often. */
export interface BenchOptions {
  /** Prompt lengths; 0 for none. */
  prompts: readonly number[];
  /** Tokens decoded one by one; 0 for none. */
  generate: readonly number[];
  /** Sequences run together. */
  batches: readonly number[];
  /** Timed runs of each test, after a warm-up. */
  runs: number;
  /** Positions in the cache before decoding. */
  depth: number;
  /** Measure what the adapter can do, too. */
  ceilings: boolean;
  /** Time each kernel, in runs of their own. */
  profile: boolean;
  /** Let the device choose its kernels by timing them first. */
  tune: boolean;
}

/** All of them are needed: a benchmark says what it measured. */
export const BENCH_FIELDS = {
  prompts: s.required(s.list("lengths", s.wholeFrom(0))),
  generate: s.required(s.list("lengths", s.wholeFrom(0))),
  batches: s.required(s.list("sizes", s.wholeFrom(1))),
  runs: s.required(s.wholeFrom(1)),
  depth: s.required(s.wholeFrom(0)),
  ceilings: s.required(s.flag),
  profile: s.required(s.flag),
  tune: s.required(s.flag),
} as const satisfies s.Fields<BenchOptions>;

export const BENCH_OPTIONS = s.object<BenchOptions>("what to measure", BENCH_FIELDS);

/** A model's spec, or as much of it as says how long a sequence may be. */
const POSITIONS = s.simple<Pick<ModelSpec, "maxPositions">>(
  "an object with maxPositions, a number",
  (value) => typeof value === "object" && value !== null && "maxPositions" in value && Number(value.maxPositions) >= 0,
);

/** What `superlens bench` does when nothing is said. */
export const DEFAULT_OPTIONS: BenchOptions = {
  prompts: [128],
  generate: [32],
  batches: [1],
  runs: 5,
  depth: 128,
  ceilings: false,
  profile: false,
  tune: true,
};

/** One test of a benchmark. */
export interface TestPlan {
  /** llama-bench's: `pp128` for a prompt, `tg32` for tokens; with a batch `tg32 b8`. */
  name: string;
  kind: "prompt" | "generate";
  /** Of each sequence. */
  tokens: number;
  batch: number;
  /** Positions in the cache before. */
  depth: number;
}

/**
 * The tests in the order in which they run.
 * @throws InputError `input/too-long` when the model has too few positions for one; `bench/nothing` for no test at all.
 */
export function planTests(options: BenchOptions, spec: Pick<ModelSpec, "maxPositions">): TestPlan[] {
  const read = s.readOptions(BENCH_OPTIONS, options, "planTests");
  return plansOf(read, s.readArgument(POSITIONS, spec, "planTests", "spec"));
}

/** The same of options that were read. */
export function plansOf(options: BenchOptions, spec: Pick<ModelSpec, "maxPositions">): TestPlan[] {
  const { prompts, generate, batches, depth } = options;
  const tests = batches.flatMap((batch) => [
    ...prompts.map((tokens) => testPlan("prompt", tokens, batch, 0)),
    ...generate.map((tokens) => testPlan("generate", tokens, batch, depth)),
  ]);
  const wanted = tests.filter(({ tokens }) => tokens > 0);
  if (wanted.length === 0) {
    throw new InputError(
      "bench/nothing",
      "There is nothing to measure: every length is 0. Give a length above 0 with -p or -n.",
    );
  }
  for (const test of wanted) assertFits(test, spec.maxPositions);
  return wanted;
}

function testPlan(kind: TestPlan["kind"], tokens: number, batch: number, depth: number): TestPlan {
  const name = `${kind === "prompt" ? "pp" : "tg"}${tokens}${batch === 1 ? "" : ` b${batch}`}`;
  return { name, kind, tokens, batch, depth };
}

function assertFits({ name, tokens, depth }: TestPlan, maxPositions: number): void {
  if (depth + tokens <= maxPositions) return;
  const room = maxPositions - depth;
  const remedy = room > 0 ? `At most ${room} tokens fit after ${depth} positions.` : `Lower the depth of ${depth}.`;
  throw new InputError(
    "input/too-long",
    `${name} needs ${depth + tokens} positions, and the model has ${maxPositions}. ${remedy}`,
  );
}
