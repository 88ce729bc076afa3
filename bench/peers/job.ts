/** One comparison on one host: what a host is told, and what it answers. Every host's entry runs a job. */
import { type Comparison, compare } from "./compare.ts";
import { compareTraining } from "./compare-training.ts";
import type { Runtime } from "./runtime.ts";
import { SHAPES, type ShapeName } from "./shapes.ts";
import { type Superlens, superlensRuntime } from "./superlens.ts";
import { type SuperlensTrainer, superlensTrainer } from "./train-superlens.ts";
import type { Trainer } from "./training.ts";
import { makeWeights, type Weights } from "./weights.ts";

export type HostName = "deno" | "chrome" | "node";

interface Rounds {
  rounds: number;
  /** Tokens decoded or steps trained in one timed run, at most `STEPS`. */
  steps: number;
}

/** A prompt and tokens behind it. */
export interface RunJob extends Rounds {
  peer: "jax" | "ort" | "ort-fused";
  shape: ShapeName;
}

/** The model of training.ts. */
export interface TrainJob extends Rounds {
  peer: "jax" | "torch";
  shape: "train";
  /** The interpreter that runs PyTorch. */
  python: string;
}

export type Job = RunJob | TrainJob;

export interface Answer extends Comparison {
  adapter: { name: string; kind: string };
  /** How the sides were used, where there was a choice. */
  notes: string[];
}

/** Marks the answer among whatever else a host prints. */
export const ANSWER_MARK = "@superlens-peers ";

export interface PeerMaker {
  make(weights: Weights): Promise<Runtime>;
  /** The peer cannot leave logits on the GPU here; superlens then reads them back as well. */
  readsLogits?: boolean;
}

/** Compares superlens with a peer and prints the answer. */
export async function runJob(
  { shape, rounds, steps }: RunJob,
  { make, readsLogits = false }: PeerMaker,
): Promise<void> {
  const weights = makeWeights(SHAPES[shape]);
  const ours = await superlensRuntime(weights, { readsLogits });
  const peer = await make(weights);
  await conclude(ours, peer, await compare(ours, peer, rounds, steps));
}

/** The same for training. */
export async function trainJob({ rounds, steps }: TrainJob, makePeer: () => Promise<Trainer>): Promise<void> {
  const ours = await superlensTrainer();
  const peer = await makePeer();
  await conclude(ours, peer, await compareTraining(ours, peer, rounds, steps));
}

async function conclude(ours: Superlens | SuperlensTrainer, peer: Runtime | Trainer, comparison: Comparison) {
  const { name, kind } = ours.adapter;
  const notes = [ours, peer].flatMap((side) => (side.note ? `${side.name}: ${side.note}` : []));
  const answer: Answer = { adapter: { name, kind }, notes, ...comparison };
  console.log(ANSWER_MARK + JSON.stringify(answer));
  await peer.destroy();
  await ours.destroy();
}
