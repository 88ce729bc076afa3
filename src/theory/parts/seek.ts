/**
 * How a head finds a position: the score terms shared by the derive, match and superpose layers.
 *
 * Seen from example j, the score of a position with example code j' and slot code i' is
 * beta (code(j).code(j') + code(i).code(i') - bJ - bI): 0 at slot i of the same example, at most -2 beta anywhere else.
 * Position 0 has code 0 and ONE - BOS = 0, so it scores `parked` for every query. Every other position has a relative weight of
 * at most e^(-2 beta), so the head chooses between the sought position and position 0.
 *
 * Subtracting bJ + bI moves both choices to 0, which changes no pattern in real numbers. In float32 it matters: next to
 * beta (bJ + bI) = 200 a score of logit(w) keeps only 16 bits of fraction. Largest |p - p*| over 20 prompts of
 * (d, m, n, K) = (32, 20, 8, 4): 2.4e-6 without the subtraction, 2.0e-7 with it.
 */
import { AttentionHead, type HeadDeclaration } from "../attention.ts";
import { binaryCode } from "../codes.ts";
import type { Plan } from "../plan.ts";
import { along, type Combination, type SpaceName } from "../spaces.ts";

/** Spaces every seeking head reads. */
export const SEEK_QUERY: readonly SpaceName[] = ["JB", "ONE"];
export const SEEK_KEY: readonly SpaceName[] = ["JB", "IB", "ONE", "BOS"];

/** 1 at every position but position 0. */
export const NOT_BOS: Combination = [along("ONE"), along("BOS", 0, -1)];

/** A head that finds slot `slot` of its own example, or parks on position 0 with score `parked`. */
export function seekingHead(plan: Plan, slot: number, parked: number, declaration: HeadDeclaration): AttentionHead {
  const { layout, beta, exampleBits, slotBits } = plan;
  const head = new AttentionHead(layout, declaration);
  for (let b = 0; b < exampleBits; b++) head.score([along("JB", b)], [along("JB", b, beta)]);
  const perfect = beta * (exampleBits + slotBits);
  const slotCode = binaryCode(slot, slotBits).map((sign, b) => along("IB", b, beta * sign));
  head.score([along("ONE")], [...slotCode, along("ONE", 0, -perfect), along("BOS", 0, perfect + parked)]);
  return head;
}

/**
 * A neuron's input that is 0 at slot `slot` and at most -`height` at every other slot; position 0 gets -height/2 per
 * slot bit. The constant reads ONE and is no bias, so that biases stay small: with a power of two for `height`
 * every weight is exact even in bfloat16, where a bias of -1024.5 would not be.
 */
export function onlyAtSlot(plan: Plan, slot: number, height: number): Combination {
  const code = binaryCode(slot, plan.slotBits).map((sign, b) => along("IB", b, (height / 2) * sign));
  return [...code, along("ONE", 0, (-height / 2) * plan.slotBits)];
}
