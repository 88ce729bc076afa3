/**
 * Cancellation. Most of what a call waits for cannot be told to stop: a device that was requested, a shader compiler, a
 * source or a cache of the caller's own. So an aborted call stops waiting, and what comes too late is cleaned up.
 */

/**
 * Settles as `work` does, or rejects with `signal.reason` as soon as the signal is aborted. `late` gets what the work then
 * still gives, so that it can be freed; an error it then still throws is dropped.
 */
export function abortable<T>(work: Promise<T>, signal: AbortSignal | undefined, late?: (value: T) => void): Promise<T> {
  if (!signal) return work;
  return new Promise((resolve, reject) => {
    const abort = () => {
      work.then(late).catch(() => undefined);
      reject(signal.reason);
    };
    if (signal.aborted) return abort();
    // A listener that stayed would keep the work alive as long as the signal.
    const settled = () => signal.removeEventListener("abort", abort);
    signal.addEventListener("abort", abort, { once: true });
    work.then(
      (value) => {
        settled();
        resolve(value);
      },
      (error) => {
        settled();
        reject(error);
      },
    );
  });
}

/** The longest time that `setTimeout` can wait, 24.8 days; it takes a longer one for 1 ms. */
export const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** Resolves after `ms` milliseconds, at most `LONGEST_TIMER_MS`; rejects with `signal.reason` when aborted before. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const waiting = new Promise<void>((resume) => {
    timer = setTimeout(resume, Math.min(ms, LONGEST_TIMER_MS));
  });
  // The timer would keep the process alive.
  return abortable(waiting, signal).finally(() => clearTimeout(timer));
}
