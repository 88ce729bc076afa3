/** superlens through its public interface: a run is one call of `train`, which waits for batches until `advance` gives them. */
import { type AdapterInfo, Gpu, loadModel, requestGpu } from "../../src/index.ts";
import type { TaskBatch } from "../../src/paper/index.ts";
import { train } from "../../src/train/index.ts";
import { firstBatches, OPTIMIZER, SCHEDULE, startModel, type Trainer } from "./training.ts";

export interface SuperlensTrainer extends Trainer {
  adapter: AdapterInfo;
}

export async function superlensTrainer(): Promise<SuperlensTrainer> {
  const gpu = new Gpu(await requestGpu({ quiet: true }));
  return {
    name: "superlens",
    note: "",
    adapter: gpu.host.adapterInfo,
    async begin({ steps, every }) {
      const model = await loadModel(startModel(), { gpu });
      const { readable, writable } = new TransformStream<TaskBatch, TaskBatch>();
      const writer = writable.getWriter();
      const batches = firstBatches(steps);
      let onLoss: (loss: number) => void;
      const run = train({
        model,
        data: readable as ReadableStream<TaskBatch> & AsyncIterable<TaskBatch>,
        steps,
        schedule: SCHEDULE,
        optimizer: OPTIMIZER,
        logEvery: every,
        onStep: ({ loss }) => onLoss(loss),
      });
      return {
        advance() {
          // Where the run fails, it says why, and not what was yet to be written.
          for (const batch of batches.splice(0, every)) writer.write(batch).catch(() => undefined);
          return new Promise((resolve, reject) => {
            onLoss = resolve;
            run.catch(reject);
          });
        },
        async end() {
          await run;
          model.destroy();
        },
      };
    },
    destroy: () => gpu.destroy(),
  };
}
