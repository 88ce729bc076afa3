/**
 * Makes the garbage collector run, on hosts that have no call for it.
 *
 * The collector runs when it sees memory grow, and it does not see buffers of a GPU: a thousand forgotten results look like a
 * few kilobytes to it. So memory that it does see is made and dropped, 128 MB at a time, until it has run. Nobody writes to
 * that memory, so the system never provides it. A round takes 4 ms in Node and Deno, and one is nearly always enough.
 */
const PRESSURE_BYTES = 64 << 20;
const PRESSURES = 2;
const MOST_ROUNDS = 8;
const FINALIZERS_MS = 20;

/** Called when the collector has found a sentinel. */
const sentinels = new FinalizationRegistry<() => void>((found) => found());

/** Resolves when objects that nobody holds now have been collected, with what they alone kept, as far as the host lets us. */
export async function collectGarbage(): Promise<void> {
  // Twice: a collected buffer's bind groups are dropped after the first time, and hold its memory until the second.
  await collectOnce();
  await collectOnce();
}

async function collectOnce(): Promise<void> {
  let isFound = false;
  sentinels.register({}, () => {
    isFound = true;
  });
  for (let round = 0; round < MOST_ROUNDS && !isFound; round++) {
    if (!makePressure()) return;
    await later(0);
  }
  // Finalizers run in tasks of their own, one for each registry: the sentinel's may come before others.
  await later(FINALIZERS_MS);
}

function later(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Whether there was address space for it. */
function makePressure(): boolean {
  try {
    for (let i = 0; i < PRESSURES; i++) new ArrayBuffer(PRESSURE_BYTES);
    return true;
  } catch {
    return false; // under a limit of address space the collector has seen enough
  }
}
