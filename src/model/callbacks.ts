/**
 * Callbacks that are called where nobody can wait for them. A callback may be async. If it fails, the call that got it fails,
 * as with a callback that is not async.
 */
import { abortable } from "../abort.ts";

interface Watched {
  onProgress?: ((progress: never) => unknown) | undefined;
  onNotice?: ((message: string) => unknown) | undefined;
  signal?: AbortSignal | undefined;
}

/**
 * The same options, whose signal is also aborted by a callback that fails; `settled` waits for all that were called, and `end`
 * lets what outlives the call go on: nothing aborts it any more, and it reports no progress.
 */
export function watchCallbacks<T extends Watched>(
  options: T,
): { options: T & { signal: AbortSignal }; settled: () => Promise<void>; end: () => void } {
  const failure = new AbortController();
  const { signal } = failure;
  const given = options.signal;
  const follow = () => failure.abort(given?.reason);
  if (given?.aborted) follow();
  else given?.addEventListener("abort", follow);
  let hasEnded = false;
  const running: Promise<void>[] = [];
  const watch = (callback: (value: never) => unknown) => (value: never) => {
    const result = callback(value);
    if (result instanceof Promise) running.push(result.catch((error: unknown) => failure.abort(error)));
  };
  const { onProgress, onNotice } = options;
  return {
    options: {
      ...options,
      ...(onProgress && { onProgress: watch((progress) => (hasEnded ? undefined : onProgress(progress))) }),
      ...(onNotice && { onNotice: watch(onNotice) }),
      signal,
    },
    async settled() {
      await abortable(Promise.all(running), signal);
      signal.throwIfAborted();
    },
    end() {
      hasEnded = true;
      given?.removeEventListener("abort", follow);
    },
  };
}
