/**
 * Trains on two sides in turn. First the losses of the first steps are compared, each with its own: the loss of a step depends
 * on all gradients and moments before it. Then each side begins anew and is timed, as in compare.ts.
 */
import { interleave } from "../measure.ts";
import { type Comparison, row, sides } from "./compare.ts";
import type { Trainer } from "./training.ts";

/** Steps whose losses are compared. */
const CHECKED = 10;

/** Largest difference of losses that is accepted, relative. */
const TOLERANCE = 1e-4;

export async function compareTraining(
  ours: Trainer,
  peer: Trainer,
  rounds: number,
  steps: number,
): Promise<Comparison> {
  const [expected, actual] = [await firstLosses(ours), await firstLosses(peer)];
  const losses = Math.max(...expected.map((loss, step) => Math.abs((actual[step] as number) - loss) / loss));
  if (!(losses <= TOLERANCE))
    throw new Error(
      `losses of ${peer.name} differ by ${losses}; ${TOLERANCE} is accepted. superlens: ${expected}; ${peer.name}: ${actual}`,
    );
  const plan = { steps: (1 + rounds) * steps, every: steps }; // one round to warm up
  const [our, their] = [await ours.begin(plan), await peer.begin(plan)];
  const measured = await interleave(
    sides(our, their, (side) => side.advance()),
    rounds,
  );
  await our.end();
  await their.end();
  return { differences: { losses }, rows: [row("train", measured, steps)] };
}

async function firstLosses(side: Trainer): Promise<number[]> {
  const training = await side.begin({ steps: CHECKED, every: 1 });
  const losses: number[] = [];
  while (losses.length < CHECKED) losses.push(await training.advance());
  await training.end();
  return losses;
}
