/**
 * Normal numbers from uniform ones, by the inverse of the normal distribution: Wichura 1988, algorithm AS 241 (PPND7, good to
 * seven digits). It needs a logarithm and a root and no sine, whose last bit differs between builds of V8.
 */
import type { RandomStream } from "../model/random.ts";

/** A number of mean 0 and deviation 1, from one word of the stream. */
export function normal(random: RandomStream): number {
  return normalQuantile((random.nextU32() + 0.5) / 2 ** 32);
}

/** The x below which a part `p` of the normal distribution lies, for p between 0 and 1. */
export function normalQuantile(p: number): number {
  const centred = p - 0.5;
  if (Math.abs(centred) <= 0.425) {
    const r = 0.180625 - centred * centred;
    const above = ((59.10937472 * r + 159.29113202) * r + 50.434271938) * r + 3.3871327179;
    return (centred * above) / (((67.1875636 * r + 78.757757664) * r + 17.895169469) * r + 1);
  }
  const root = Math.sqrt(-Math.log(Math.min(p, 1 - p)));
  return Math.sign(centred) * (root <= 5 ? tail(root - 1.6) : farTail(root - 5));
}

function tail(r: number): number {
  const above = ((0.17023821103 * r + 1.3067284816) * r + 2.75681539) * r + 1.4234372777;
  return above / ((0.12021132975 * r + 0.7370016425) * r + 1);
}

function farTail(r: number): number {
  const above = ((0.017337203997 * r + 0.42868294337) * r + 3.081226386) * r + 6.657905115;
  return above / ((0.012258202635 * r + 0.24197894225) * r + 1);
}
