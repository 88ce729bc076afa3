/**
 * Runs two sides in turn. First their logits are compared, since a side that computes something else wins easily; then each
 * is warmed up once and timed for some rounds, one after the other within a round, because a machine's speed drifts.
 */
import { interleave, type Measured, ratio } from "../measure.ts";
import type { Runtime } from "./runtime.ts";

/** Largest difference of logits that is accepted, as a share of the largest logit. */
export const TOLERANCE = 1e-3;

export interface Row {
  what: "prefill" | "decode" | "train";
  /** Milliseconds: of a prompt, of one decoded token, or of one step of training. */
  superlens: number;
  peer: number;
  /** The peer's time over superlens's: the median of the rounds' ratios. Above 1, superlens is faster. */
  ratio: number;
  runs: { superlens: number[]; peer: number[] };
}

export interface Comparison {
  /** Largest difference of logits over the largest logit; of a loss over the loss. */
  differences: { prefill: number; decode: number } | { losses: number };
  /** Whether both chose the same tokens, where they choose any. */
  isSameText?: boolean;
  rows: Row[];
}

export async function compare(ours: Runtime, peer: Runtime, rounds: number, steps: number): Promise<Comparison> {
  const differences = {
    prefill: difference(await ours.prefillLogits(), await peer.prefillLogits()),
    decode: difference(await ours.decodeLogits(), await peer.decodeLogits()),
  };
  for (const [what, value] of Object.entries(differences)) {
    if (!(value <= TOLERANCE)) {
      throw new Error(`${what}: logits of ${peer.name} differ by ${value} of the largest; ${TOLERANCE} is accepted.`);
    }
  }
  const isSameText = String(await ours.decode(steps)) === String(await peer.decode(steps));
  const prefill = await interleave(
    sides(ours, peer, (side) => side.prefill()),
    rounds,
  );
  const decode = await interleave(
    sides(ours, peer, (side) => side.decode(steps)),
    rounds,
  );
  return { differences, isSameText, rows: [row("prefill", prefill, 1), row("decode", decode, steps)] };
}

export function sides<Side>(ours: Side, peer: Side, run: (side: Side) => Promise<unknown>) {
  return [
    { name: "superlens", run: async () => void (await run(ours)) },
    { name: "peer", run: async () => void (await run(peer)) },
  ];
}

/** @param parts what one timed run consists of: tokens or steps */
export function row(what: Row["what"], measured: readonly Measured[], parts: number): Row {
  const [ours, theirs] = measured as [Measured, Measured];
  return {
    what,
    superlens: ours.median / parts,
    peer: theirs.median / parts,
    ratio: ratio(measured, "peer", "superlens"),
    runs: { superlens: ours.runs.map((run) => run / parts), peer: theirs.runs.map((run) => run / parts) },
  };
}

/** The largest difference, as a share of the largest of `expected`; NaN where anything is. */
function difference(expected: Float32Array, actual: Float32Array): number {
  if (expected.length !== actual.length) throw new Error(`${actual.length} logits instead of ${expected.length}`);
  let largest = 0;
  let furthest = 0;
  for (let i = 0; i < expected.length; i++) {
    const value = expected[i] as number;
    largest = Math.max(largest, Math.abs(value));
    furthest = Math.max(furthest, Math.abs((actual[i] as number) - value));
  }
  return furthest / largest;
}
