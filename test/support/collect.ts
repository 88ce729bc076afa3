/** Waiting for the garbage collector, on every host. */
import { collectGarbage } from "../../src/gpu/collect.ts";

/**
 * Ten collections, half a second in all, were once too few for Deno on a busy machine: it marks in steps between tasks, and the
 * sentinel of `collectGarbage` may be found by a collection of young objects alone.
 */
const MOST_MS = 20_000;

/** Asks for collections until `isDone`. It never is if somebody holds the objects. */
export async function collectUntil(isDone: () => boolean): Promise<void> {
  const end = performance.now() + MOST_MS;
  while (!isDone() && performance.now() < end) await collectGarbage();
}
