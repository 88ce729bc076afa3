/** Waiting for the garbage collector, on every host. */
import { collectGarbage } from "../../src/gpu/collect.ts";

const MOST_COLLECTIONS = 10;

/** Asks for collections until `isDone`: on a busy machine some objects are found by a later one. They never are if somebody holds them. */
export async function collectUntil(isDone: () => boolean): Promise<void> {
  for (let collection = 0; collection < MOST_COLLECTIONS && !isDone(); collection++) await collectGarbage();
}
