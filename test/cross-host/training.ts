/** Training on every host is PyTorch's, and a run that ends goes on to the same bits from what it kept in memory. */
import { loadModel, MemoryStore } from "../../src/index.ts";
import { type TrainStep, train } from "../../src/train/index.ts";
import { fixtureTensors } from "./families.ts";
import { type Check, type CheckContext, expectEqual } from "./harness.ts";

const RECIPE = {
  schedule: { lr: 3e-3, warmup: 5, decay: 0.3 },
  optimizer: { betas: [0.9, 0.98] as [number, number], weightDecay: 0.01, clip: 1 },
  steps: 30,
};
const [BATCH, LENGTH] = [8, 48];
/** Steps that are compared; the recorded run has 30, and its schedule counts them. */
const COMPARED = 3;

/** Steps of the recorded run, ended after `COMPARED`. */
async function run(context: CheckContext, store: MemoryStore, end: number, resume = false): Promise<TrainStep[]> {
  const recorded = await fixtureTensors(context, "training/llama/run.safetensors");
  const rows = (name: string, step: number, width: number) => {
    const values = recorded.get(name) as Float32Array;
    return Array.from({ length: BATCH }, (_, row) => {
      const first = (step * BATCH + row) * width;
      return [...values.subarray(first, first + width)];
    });
  };
  function* data(first: number) {
    for (let step = first; step < RECIPE.steps; step++)
      yield {
        ids: rows("ids", step, LENGTH + 1),
        mask: rows("mask", step, LENGTH).map((row) => row.map((value) => value === 1)),
      };
  }
  using model = await loadModel(`${context.fixtureUrl}training/llama`, { gpu: await context.gpu() });
  const steps: TrainStep[] = [];
  const controller = new AbortController();
  const onStep = (step: TrainStep) => {
    steps.push(step);
    if (step.step === end) controller.abort("done");
  };
  const { signal } = controller;
  await train({ model, data, ...RECIPE, onStep, signal, checkpoint: { in: store, resume } }).catch((reason) => {
    if (reason !== "done") throw reason;
  });
  for (const { step, loss } of steps) {
    const expected = recorded.get("losses")?.[step - 1] as number;
    if (!(Math.abs(loss / expected - 1) < 1e-5)) throw new Error(`loss of step ${step}: ${loss}, PyTorch ${expected}`);
  }
  return steps;
}

export const trainingChecks: Check[] = [
  {
    name: "training gives PyTorch's losses, and goes on from a checkpoint",
    atNightIn: ["browser", "node"], // by day test/web/page.test.ts and test/train train there
    async run(context) {
      const unbroken = await run(context, new MemoryStore(), COMPARED);
      const store = new MemoryStore();
      const broken = [...(await run(context, store, COMPARED - 1)), ...(await run(context, store, COMPARED, true))];
      expectEqual(JSON.stringify(broken), JSON.stringify(unbroken), "steps");
      return `${COMPARED} steps`;
    },
  },
];
