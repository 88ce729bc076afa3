/** Waiting for the garbage collector, on every host. */
import { collectGarbage } from "../../src/gpu/collect.ts";

const MOST_MS = 20_000;

/**
 * Memory held at once, more than half of what V8 lets a heap grow to: V8 then collects everything, and does not mark in steps.
 * Beside three million live objects a forgotten one outlived a thousand rounds of `collectGarbage`'s pressure, 6 s, in Deno and in
 * Node; this took it in the first round in Deno (0.3 s), in the second or third in Node (3 to 4 s).
 */
const HARD_PRESSURES = 48;
const PRESSURE_BYTES = 64 << 20;

/** Asks for collections until `isDone`, from the third on with all the pressure there is. It never is if somebody holds the objects. */
export async function collectUntil(isDone: () => boolean): Promise<void> {
  const end = performance.now() + MOST_MS;
  for (let time = 0; !isDone() && performance.now() < end; time++) {
    // What `isDone` looked at through a weak reference is held until its task ends.
    await new Promise((resolve) => setTimeout(resolve, 0));
    if (time > 1) pressHard();
    await collectGarbage();
  }
}

/** Nobody writes to the memory, so the system never provides it. */
function pressHard(): void {
  const held: ArrayBuffer[] = [];
  try {
    while (held.length < HARD_PRESSURES) held.push(new ArrayBuffer(PRESSURE_BYTES));
  } catch {
    // There is no address space left for more: that is all the pressure there is.
  }
}
