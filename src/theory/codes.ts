/**
 * The place of a token: example index j and slot i of every position, as binary codes.
 *
 * A prompt is BOS, m examples of n tokens, and a query of n - 1 inputs: positions 0 .. m n + n - 1. The code of u has
 * entries +-1, so code(u) . code(v) equals the number of bits b if u = v and is at most b - 2 otherwise. One dot
 * product finds a position, with log2(m) + log2(n) dimensions instead of m n.
 */

/** The +-1 binary code of `value`, least significant bit first. */
export function binaryCode(value: number, bits: number): number[] {
  return Array.from({ length: bits }, (_, b) => (Math.floor(value / 2 ** b) % 2 === 1 ? 1 : -1));
}

/** Bits to tell `count` things apart, at least 1. */
export function bitsFor(count: number): number {
  return Math.max(1, 32 - Math.clz32(count - 1));
}

/** Number of positions of a prompt: 1 + m n + (n - 1). */
export function promptLength(examples: number, exampleLength: number): number {
  return 1 + examples * exampleLength + exampleLength - 1;
}

/** Position of slot `slot` in example `example`; the query is example m. */
export function positionOf(example: number, slot: number, exampleLength: number): number {
  return 1 + example * exampleLength + slot;
}

/**
 * How many positions the weigh heads average over: the smallest power of two that is at least m.
 *
 * Averaging over the m labels alone gives every label the weight fl(1/m), and adding the same rounded number c times
 * rounds the same way each time: a plain float32 sum is off by up to 9e-6 at m = 1000. A power of two makes 1/2^q and
 * all its multiples exact, so the count c / 2^q is exact in float32 whatever the order of summation; W_O multiplies
 * by 2^q / m once. Largest |p - p*| at m = 1000: 1.9e-6 over the labels alone, 2.4e-7 padded.
 */
export function countedPositions(examples: number): number {
  return 2 ** (32 - Math.clz32(examples - 1));
}

/** Whether the weigh heads count this place: every label, and slot 0 of the first 2^q - m examples. */
export function isCounted(example: number, slot: number, examples: number, exampleLength: number): boolean {
  if (example >= examples) return false;
  return slot === exampleLength - 1 || (slot === 0 && example < countedPositions(examples) - examples);
}
