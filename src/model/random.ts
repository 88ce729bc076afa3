/**
 * Uniform random numbers from a seed: xoshiro128** (Blackman and Vigna, https://prng.di.unimi.it), its state filled by
 * SplitMix32. Each sequence of a batch has a stream of its own, so its draws do not depend on its neighbours.
 */
export class RandomStream {
  /** @param state four words, not all zero. */
  constructor(private readonly state: Uint32Array) {}

  /** Stream number `stream` of `seed`, an integer up to 2^53 in size. */
  static fromSeed(seed: number, stream = 0): RandomStream {
    const mix = splitMix32(seed % 2 ** 32, Math.floor(seed / 2 ** 32), stream);
    return new RandomStream(Uint32Array.from({ length: 4 }, mix));
  }

  /** The next 32 bits. */
  nextU32(): number {
    const s = this.state as unknown as [number, number, number, number];
    const result = Math.imul(rotateLeft(Math.imul(s[1], 5), 7), 9) >>> 0;
    const shifted = s[1] << 9;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= shifted;
    s[3] = rotateLeft(s[3], 11);
    return result;
  }

  /** A number in [0, 1) with 24 random bits, which a float32 holds exactly. */
  next(): number {
    return (this.nextU32() >>> 8) / 2 ** 24;
  }
}

/** A seed that nobody chose. */
export function randomSeed(): number {
  return crypto.getRandomValues(new Uint32Array(1))[0] as number;
}

/** Mixes all words into one counter, then gives a scrambled word a call. */
function splitMix32(...words: readonly number[]): () => number {
  let counter = 0;
  const next = () => {
    counter = (counter + 0x9e3779b9) | 0;
    let z = counter;
    z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    return (z ^ (z >>> 15)) >>> 0;
  };
  for (const word of words) counter = next() ^ word;
  return next;
}

function rotateLeft(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits));
}
