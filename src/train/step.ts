/**
 * One step: forward, backward and AdamW. Rows whose prediction does not count are not unembedded. The batches of one step are
 * as one: the loss is the mean over all that they count.
 */
import { widestOf } from "../hooks/backward.ts";
import { crossEntropy, MetricSeed } from "../hooks/metric-gradient.ts";
import { assertIds } from "../model/engine.ts";
import type { Model } from "../model/model.ts";
import type { WeightGradients } from "../model/weights/gradients.ts";
import type { AdamW } from "./adamw.ts";
import type { Counted } from "./data.ts";

/** What steps have in common. */
export interface Stepping {
  readonly model: Model;
  readonly gradients: WeightGradients;
  readonly optimizer: AdamW;
  readonly recompute?: boolean | undefined;
}

/** Runs a step, and gives what reads its loss from the GPU; `destroy` frees it. */
export async function runStep(
  stepping: Stepping,
  batches: readonly Counted[],
  step: { readonly lr: number; readonly step: number },
): Promise<{ loss(): Promise<number>; destroy(): void }> {
  const total = batches.reduce((sum, { positions }) => sum + count(positions), 0);
  const seeds: MetricSeed[] = [];
  const destroy = () => {
    for (const seed of seeds) seed.destroy();
  };
  try {
    for (const [index, batch] of batches.entries())
      seeds.push(await runBatch(stepping, batch, total, index + 1 === batches.length ? step : undefined));
  } catch (error) {
    destroy();
    throw error;
  }
  const loss = async () => {
    const parts = await Promise.all(seeds.map((seed) => seed.read()));
    return parts.reduce((sum, [part]) => sum + (part as number), 0);
  };
  return { loss, destroy };
}

const count = (lists: readonly { readonly length: number }[]) => lists.reduce((sum, { length }) => sum + length, 0);

/** Adds a batch's gradients to those of the step; after the last of them the weights move. */
async function runBatch(
  { model, gradients, optimizer, recompute }: Stepping,
  { ids, positions }: Counted,
  total: number,
  last: { readonly lr: number; readonly step: number } | undefined,
): Promise<MetricSeed> {
  // The last token of a sequence is a target alone, which no pass looks up.
  for (const [sequence, list] of ids.entries()) assertIds(model.spec, sequence, list);
  const inputs = ids.map((list) => list.slice(0, -1));
  const counts = positions.map((list) => new Set(list));
  const plan = crossEntropy(ids, (sequence, position) => counts[sequence]?.has(position) ?? false, total);
  const seed = new MetricSeed(model.gpu, plan);
  try {
    await model.withInput(inputs, {}, async (rows, run) => {
      const logits = await model.run(rows, {
        ...run,
        logits: positions,
        widest: widestOf(model, rows, plan),
        backward: { seed: seed.record, weights: gradients, recompute },
        ...(last && { afterLogits: (recorder) => optimizer.record(recorder, last.lr, last.step) }),
      });
      logits.destroy();
    });
    return seed;
  } catch (error) {
    seed.destroy();
    throw error;
  }
}
