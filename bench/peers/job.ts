/** One comparison on one host: what a host is told, and what it answers. Every host's entry calls `runJob`. */
import { type Comparison, compare } from "./compare.ts";
import type { Runtime } from "./runtime.ts";
import { SHAPES, type ShapeName } from "./shapes.ts";
import { superlensRuntime } from "./superlens.ts";
import { makeWeights, type Weights } from "./weights.ts";

export type PeerName = "jax" | "ort" | "ort-fused";
export type HostName = "deno" | "chrome" | "node";

export interface Job {
  peer: PeerName;
  shape: ShapeName;
  rounds: number;
  /** Tokens decoded in one timed run, at most `STEPS`. */
  steps: number;
}

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
export async function runJob({ shape, rounds, steps }: Job, { make, readsLogits = false }: PeerMaker): Promise<void> {
  const weights = makeWeights(SHAPES[shape]);
  const ours = await superlensRuntime(weights, { readsLogits });
  const peer = await make(weights);
  const comparison = await compare(ours, peer, rounds, steps);
  const { name, kind } = ours.adapter;
  const notes = [ours, peer].flatMap((side) => (side.note ? `${side.name}: ${side.note}` : []));
  const answer: Answer = { adapter: { name, kind }, notes, ...comparison };
  console.log(ANSWER_MARK + JSON.stringify(answer));
  await peer.destroy();
  await ours.destroy();
}
