/** A run that was ended and goes on from its checkpoint gives the bits of a run that was not. */
import { beforeAll, expect, it } from "vitest";
import { type FileStore, MemoryStore } from "../../src/checkpoint/index.ts";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { loadModel } from "../../src/hooks/index.ts";
import { saveModel, type TrainOptions, train } from "../../src/train/index.ts";
import { testGpu } from "../support/gpu.ts";
import { folderOf, RECIPE, recorded, small, weightsOf } from "./support.ts";

let gpu: Gpu;
let data: ReturnType<typeof small>;
const STEPS = 6;

beforeAll(async () => {
  gpu = await testGpu();
  data = small((await recorded("gpt2")).data);
});

const fresh = () => loadModel(folderOf("gpt2"), { gpu });
const run = (options: Pick<TrainOptions, "model"> & Partial<TrainOptions>) =>
  train({ data, steps: STEPS, ...RECIPE, ...options });

/** A store whose writes fail, from one on. */
function failing(store: FileStore, from: number): FileStore {
  let writes = 0;
  return {
    label: store.label,
    source: () => store.source(),
    async write(file, chunks) {
      if (++writes < from) return store.write(file, chunks);
      for await (const chunk of chunks) if (chunk.length > 0) throw new Error("no space left on device");
      return 0;
    },
  };
}

it("a run goes on as if it had never ended, whatever ended it", async () => {
  using unbroken = await fresh();
  const steps = await run({ model: unbroken });
  const weights = await weightsOf(unbroken);

  const store = new MemoryStore();
  const controller = new AbortController();
  using stopped = await fresh();
  const first = run({
    model: stopped,
    checkpoint: { in: store },
    onStep: ({ step }) => step === 2 && controller.abort(new Error("enough")),
    signal: controller.signal,
  });
  await expect(first).rejects.toThrow("enough");
  // The next one is not asked for what was drawn before, and dies in the middle of writing its second checkpoint.
  using killed = await fresh();
  const asked: number[] = [];
  const from = (batch: number) => {
    asked.push(batch);
    return data.slice(batch);
  };
  const full = failing(store, 2);
  const second = run({ model: killed, data: from, checkpoint: { in: full, every: 2, resume: true } });
  await expect(second).rejects.toThrow("no space left");
  using last = await fresh();
  const all = await run({ model: last, data: from, checkpoint: { in: store, resume: true } });
  expect(asked).toEqual([2, 4]);
  expect(all).toEqual(steps);
  expect(await weightsOf(last)).toEqual(weights);

  // What is saved loads as it was left, and a run that is done has nothing more to do.
  await saveModel(last, store);
  using again = await loadModel(store.source(), { gpu });
  expect(await weightsOf(again)).toEqual(weights);
  expect(await run({ model: again, data: [], checkpoint: { in: store, resume: true } })).toEqual(steps);
});
