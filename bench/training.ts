/**
 * How fast a training step is, as a share of what the adapter's matmuls reach at best, measured in turn; its dispatches; and where
 * its time goes by kernel. Two shapes: `reference`, the Llama of the preset `plus` on 32 sequences of 66 predictions of which
 * every second counts, and `gpt2`, GPT-2 small on four sequences of 128, which takes minutes on a CPU.
 * `npm run bench:training -- --json --shape gpt2 --rounds 5`
 *
 * A step counts three times the operations of a plain forward with all logits, matmuls and attention: those of its forward, and
 * twice as many backwards. That the last block leaves out rows whose prediction does not count is a gain, not fewer operations.
 */
import "../src/node.ts";
import { CeilingProbe, type CeilingSizes } from "../src/bench/ceilings.ts";
import { RandomSource, SHAPES } from "../src/bench/index.ts";
import { median } from "../src/bench/statistics.ts";
import { Gpu, type HookedModel, loadModel, requestGpu } from "../src/index.ts";
import { presetBatches, presetModel, trainingPreset } from "../src/paper/index.ts";
import { type TrainBatch, type TrainOptions, train } from "../src/train/index.ts";
import { bound, report } from "./measure.ts";

interface Subject {
  readonly model: HookedModel;
  batch(): TrainBatch;
  /** The share of the ceiling that a step is to reach. */
  readonly share: number;
  /** About as many dispatches as a step is to take. */
  readonly dispatches: number;
}

/** About 13 forwards and 26 backwards in a block; what is in none takes 21 here and 27 in GPT-2. */
const dispatchAim = (layers: number) => (13 + 26) * layers + 21;

const SUBJECTS: Record<string, (gpu: Gpu) => Promise<Subject>> = {
  async reference(gpu) {
    const plus = trainingPreset("plus");
    const preset = { ...plus, data: { ...plus.data, length: 66 } };
    const batches = presetBatches(preset)();
    const model = await loadModel(presetModel(preset), { gpu, dtype: "float32" });
    return { model, batch: () => batches.next().value, share: 0.4, dispatches: dispatchAim(model.spec.nLayers) };
  },
  async gpt2(gpu) {
    const model = await loadModel(await RandomSource.create(SHAPES.gpt2), { gpu, dtype: "float32" });
    let drawn = 0;
    const ids = () => Array.from({ length: 129 }, () => (++drawn * 7919) % model.spec.vocabSize);
    const batch = () => ({ ids: Array.from({ length: 4 }, ids) });
    return { model, batch, share: 0.6, dispatches: dispatchAim(model.spec.nLayers) };
  },
};

/** The MLP of GPT-2, as the first of the benchmark's; the rate of weights is not used here. */
const MATMUL = { width: 768, outWidth: 3072 };
const CEILING_SIZES: CeilingSizes = { manyRows: [{ rows: 128, ...MATMUL }], oneRow: [{ rows: 1, ...MATMUL }] };

const argument = (name: string) =>
  process.argv.includes(name) ? process.argv[process.argv.indexOf(name) + 1] : undefined;
const rounds = Number(argument("--rounds") ?? 9);
const shape = argument("--shape") ?? "reference";
const isJson = process.argv.includes("--json");

function run({ model, batch }: Subject, steps: number, onStep?: TrainOptions["onStep"]) {
  const data = Array.from({ length: steps }, batch);
  const optimizer = { betas: [0.9, 0.98] as const, weightDecay: 0.01, clip: 1 };
  return train({ model, data, steps, schedule: { lr: 1e-4 }, optimizer, ...(onStep && { onStep }) });
}

/** Operations of a step. */
async function operationsOf({ model, batch }: Subject): Promise<number> {
  const before = model.gpu.counters.operations;
  (await model.forward(batch().ids.map((list) => list.slice(0, -1)))).destroy();
  return 3 * (model.gpu.counters.operations - before);
}

interface Steps {
  /** Milliseconds of each step, and GFLOP/s that the ceiling's matmul reached before and after it. */
  readonly ms: number[];
  readonly ceilings: number[];
  readonly dispatches: number;
}

/** Trains, and stops between two steps for the ceiling. The first step compiles. */
async function timeSteps(subject: Subject, probe: CeilingProbe): Promise<Steps> {
  const { counters } = subject.model.gpu;
  const ms: number[] = [];
  const ceilings: number[] = [];
  let [start, dispatched, dispatches] = [performance.now(), counters.dispatches, 0];
  await run(subject, 1 + rounds, async () => {
    ms.push(performance.now() - start);
    dispatches = counters.dispatches - dispatched;
    ceilings.push((await probe.measure()).gflops);
    [start, dispatched] = [performance.now(), counters.dispatches];
  });
  return { ms: ms.slice(1), ceilings, dispatches };
}

/** Milliseconds on the GPU's clock of each kernel in one step, the slowest first. */
async function profile(subject: Subject): Promise<[kernel: string, ms: number, dispatches: number][]> {
  const times = await subject.model.gpu.profile(async () => void (await run(subject, 1)));
  return [...times]
    .map(([kernel, { ms, dispatches }]): [string, number, number] => [kernel, ms, dispatches])
    .sort(([, a], [, b]) => b - a);
}

const gpu = new Gpu(await requestGpu());
const subject = await (SUBJECTS[shape] as (typeof SUBJECTS)[string])(gpu);
const operations = await operationsOf(subject);
const probe = await CeilingProbe.find(gpu, { sizes: CEILING_SIZES });
const { ms, ceilings, dispatches } = await timeSteps(subject, probe);
const shares = ms.map((each, index) => {
  const ceiling = ((ceilings[index] as number) + (ceilings[index + 1] as number)) / 2;
  return operations / each / 1e6 / ceiling;
});
const kernels = gpu.host.features.has("timestamp-query") ? await profile(subject) : [];
const detail = { step: median(ms), "GFLOP a step": operations / 1e9, "ceiling, GFLOP/s": median(ceilings) };
const bounds = [
  bound(`${shape}: share of the matmul ceiling`, median(shares), "at least", subject.share, detail),
  bound(
    `${shape}: dispatches a step`,
    dispatches,
    "at most",
    subject.dispatches,
    Object.fromEntries(kernels.map(([kernel, time, count]) => [`${kernel}, ${count} dispatches`, time])),
  ),
];
report(bounds, gpu.host.adapterInfo, isJson);
if (!isJson) {
  console.log(JSON.stringify(detail));
  for (const [kernel, time, count] of kernels)
    console.log(`${time.toFixed(2).padStart(9)} ms ${String(count).padStart(4)}  ${kernel}`);
}
probe.destroy();
subject.model.destroy();
gpu.destroy();
process.exitCode = bounds.every(({ ok }) => ok) ? 0 : 1;
