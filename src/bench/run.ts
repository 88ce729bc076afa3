/**
 * One benchmark from beginning to end, the same code in Node, in Deno and in a page: load on a new device, ceilings, tests,
 * profile. It ends in a report, or in the error that made its numbers worthless.
 */
import type { Gpu } from "../gpu/gpu.ts";
import type { HookedModel } from "../hooks/index.ts";
import { hostFacts } from "../hosts/facts.ts";
import { GPU_REQUEST_FIELDS, type GpuRequest } from "../hosts/request.ts";
import type { ModelSpec } from "../model/spec.ts";
import { takeTuning } from "../model/tuning.ts";
import * as s from "../schema/schema.ts";
import { CeilingProbe } from "./ceilings.ts";
import { measureTests } from "./measure.ts";
import { BENCH_FIELDS, type BenchOptions, plansOf, type TestPlan } from "./options.ts";
import { assertTimestamps, profileTest } from "./profile.ts";
import { Reference } from "./reference.ts";
import type { Ceilings, ModelShape, Profile, Report, TestResult } from "./report.ts";
import { loadSubject, SUBJECT, type Subject } from "./subject.ts";
import { type BenchTest, makeTest } from "./tests.ts";

/** Where a benchmark is. */
export interface BenchProgress {
  /** `load`, `ceilings`, a test's name, or `profile`. */
  stage: string;
  detail: string;
}

export interface RunOptions extends BenchOptions, GpuRequest {
  /** Of superlens, for the report. */
  commit: string;
  /** Called whenever a part begins. */
  onProgress?: (progress: BenchProgress) => void;
  /** Ends the benchmark with `signal.reason`. */
  signal?: AbortSignal | undefined;
}

export const RUN_OPTIONS = s.object<RunOptions>("the options of runBench", {
  ...BENCH_FIELDS,
  ...GPU_REQUEST_FIELDS,
  commit: s.required(s.text),
  onProgress: s.callback,
} satisfies s.Fields<RunOptions>);

/**
 * Benchmarks `subject`.
 * @throws SuperlensError `bench/wrong-output` when a run's output is not the reference's; InputError for tests that the
 *   model has no positions for; GpuError `gpu/no-timestamps` for a profile that cannot be made; whatever loading throws.
 */
export async function runBench(subject: Subject, options: RunOptions): Promise<Report> {
  return run(s.readArgument(SUBJECT, subject, "runBench", "subject"), s.readOptions(RUN_OPTIONS, options, "runBench"));
}

async function run(subject: Subject, options: RunOptions): Promise<Report> {
  const { commit, onProgress = () => undefined, signal, adapter, powerPreference, onAdapter, quiet } = options;
  const detailOf = (stage: string) => (detail: string) => onProgress({ stage, detail });
  const date = new Date().toISOString();
  // Whether there is anything to measure is known without a model.
  let plans: TestPlan[] = plansOf(options, { maxPositions: Number.POSITIVE_INFINITY });
  const onSpec = (spec: ModelSpec) => {
    plans = plansOf(options, spec);
  };
  const onDevice = async (gpu: Gpu) => {
    if (options.profile) await assertTimestamps(gpu);
  };
  const { model, load, label, isRandom } = await loadSubject(subject, {
    ...definedOf({ adapter, powerPreference, onAdapter, quiet }),
    signal,
    onDetail: detailOf("load"),
    onDevice,
    onSpec,
  });
  const { gpu } = model;
  try {
    // After the load, whose times are those of a first visit: with the kernels that nobody has timed.
    const onTune = ({ kernel }: { kernel: string }) => detailOf("tune")(kernel);
    await takeTuning(gpu, model.spec, model.engine.weights, { tune: options.tune, onTune, signal });
    const { tests, ceilings } = await measureAll(model, plans, options, load.bytes, detailOf);
    const profile = options.profile ? await profileAll(model, plans, detailOf("profile")) : undefined;
    const { name, kind, host } = gpu.host.adapterInfo;
    return {
      date,
      commit,
      ...hostFacts(host),
      adapter: { name, kind },
      model: label,
      isRandom,
      shape: shapeOf(model),
      storage: model.engine.weights.W_E.storage,
      load,
      tests,
      ...(ceilings && { ceilings }),
      ...(profile && { profile }),
    };
  } finally {
    model.destroy();
    gpu.destroy();
  }
}

async function measureAll(
  model: HookedModel,
  plans: readonly TestPlan[],
  { runs, ceilings, signal }: RunOptions,
  weightBytes: number,
  detailOf: (stage: string) => (detail: string) => void,
): Promise<{ tests: TestResult[]; ceilings: Ceilings | undefined }> {
  const { gpu } = model;
  const tests: BenchTest[] = [];
  let probe: CeilingProbe | undefined;
  const findCeilings = async () => {
    probe = await CeilingProbe.find(gpu, { onDetail: detailOf("ceilings"), signal, weightBytes });
    return probe;
  };
  try {
    for (const plan of plans) tests.push(await makeTest(model, plan));
    const results = await measureTests(gpu, tests, new Reference(model), {
      runs,
      findCeilings: ceilings ? findCeilings : undefined,
      signal,
      onDetail: (test, detail) => detailOf(test)(detail),
    });
    return { tests: results, ceilings: probe?.ceilings };
  } finally {
    for (const test of tests) test.destroy();
  }
}

async function profileAll(
  model: HookedModel,
  plans: readonly TestPlan[],
  onDetail: (detail: string) => void,
): Promise<Profile[]> {
  const profiles: Profile[] = [];
  for (const plan of plans) {
    onDetail(plan.name);
    const test = await makeTest(model, plan);
    try {
      profiles.push(await profileTest(model.gpu, test));
    } finally {
      test.destroy();
    }
  }
  return profiles;
}

function shapeOf({ spec }: HookedModel): ModelShape {
  const { family, nLayers, dModel, nHeads, nKvHeads, dMlp, vocabSize, maxPositions } = spec;
  return { family, layers: nLayers, dModel, heads: nHeads, kvHeads: nKvHeads, dMlp, vocabSize, maxPositions };
}

/** Without the keys that are undefined. */
function definedOf<T extends object>(values: T): T {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as T;
}
