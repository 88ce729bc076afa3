/**
 * Derive: add the operands and write the sum as a one-hot.
 *
 * Attention: one head per operand slot fetches the operand's value into ACC. Where the operand has not been read yet
 * the head parks on position 0, which has value 0. MLP: DER_t = hat(ACC - t) with
 * hat(z) = relu(z + 1) - 2 relu(z) + relu(z - 1), the triangle that is 1 at 0 and 0 at all other integers; hats share
 * their ReLUs. The MLP is silenced everywhere except at the last input slot. Otherwise ACC = 0 at position 0 would decode to
 * "sum 0" and leak into every head that parks there.
 */
import type { AttentionHead } from "../attention.ts";
import { Mlp } from "../mlp.ts";
import type { Plan } from "../plan.ts";
import { along, type Combination, type Term } from "../spaces.ts";
import type { CompiledSum } from "../tasks.ts";
import { onlyAtSlot, SEEK_KEY, SEEK_QUERY, seekingHead } from "./seek.ts";

/** One head per operand; none when the program has no sum. */
export function deriveHeads(plan: Plan): AttentionHead[] {
  const { sum } = plan;
  if (sum === null) return [];
  const missing = valueOfNonOperand(sum);
  const value = sum.values.map((number, id) => along("TOK", id, number ?? missing));
  return sum.operands.map((slot, i) => {
    const head = seekingHead(plan, slot, -plan.beta, {
      name: `derive head ${i}`,
      query: SEEK_QUERY,
      key: SEEK_KEY,
      value: ["TOK"],
      writes: ["ACC"],
    });
    head.value(value, [along("ACC")]);
    return head;
  });
}

/**
 * The value of a token that is no operand: large enough that a sum with one of them is beyond every hat, so that DER
 * stays 0 and no task of the sum is defined. The other operands are at least `least` each.
 */
function valueOfNonOperand({ operands, values, high }: CompiledSum): number {
  const least = Math.min(...values.filter((value) => value !== null));
  return Math.max(1, high + 2 - (operands.length - 1) * least);
}

/** The one-hot decoder of ACC; null when the program has no sum. */
export function deriveMlp(plan: Plan): Mlp | null {
  const { sum } = plan;
  if (sum === null) return null;
  const mlp = new Mlp(plan.layout, { name: "derive MLP", reads: ["ACC", "IB", "ONE"], writes: ["DER"] });
  const silence = onlyAtSlot(plan, plan.exampleLength - 2, silenceHeight(sum));
  for (let knot = sum.low - 1; knot <= sum.high + 1; knot++) {
    mlp.neuron([along("ACC"), ...silence], -knot, hatsAt(knot, sum));
  }
  return mlp;
}

/** A power of two of at least twice anything ACC - knot can reach (position 0 is held down by half of it). */
function silenceHeight(sum: CompiledSum): number {
  const largest = Math.max(...sum.values.map((value) => Math.abs(value ?? valueOfNonOperand(sum))));
  const reach = sum.operands.length * largest + Math.max(Math.abs(sum.low), Math.abs(sum.high)) + 2;
  return 2 ** Math.ceil(Math.log2(2 * reach));
}

/** relu(ACC - knot) is the rise of hat knot + 1, minus twice the peak of hat knot, and the tail of hat knot - 1. */
function hatsAt(knot: number, { low, high }: CompiledSum): Combination {
  const hats: Term[] = [];
  for (const [value, weight] of [
    [knot + 1, 1],
    [knot, -2],
    [knot - 1, 1],
  ] as const) {
    if (value >= low && value <= high) hats.push(along("DER", value - low, weight));
  }
  return hats;
}
