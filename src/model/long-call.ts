/**
 * What calls of several passes have in common: they say how far they are, and end when they are told to. A call of one pass takes
 * the signal alone.
 */
import { abortable } from "../abort.ts";
import * as s from "../schema/schema.ts";

/** How to end a call. */
export interface AbortOptions {
  /** Ends the call with `signal.reason`; what the GPU has begun, it finishes. */
  signal?: AbortSignal;
}

/** How to follow a call of several passes, and end it. */
export interface LongCallOptions extends AbortOptions {
  /** Called after each pass with how much is done, out of how much. It may be async: the call waits for it. */
  onProgress?: (progress: { done: number; total: number }) => void;
}

export const ABORT_FIELDS = { signal: s.signal } as const satisfies s.Fields<AbortOptions>;
export const LONG_CALL_FIELDS = { ...ABORT_FIELDS, onProgress: s.callback } as const;

/** Reports to `onProgress`, and throws once the call is aborted. */
export async function reportProgress(
  { onProgress, signal }: s.Read<LongCallOptions>,
  done: number,
  total: number,
): Promise<void> {
  await abortable(Promise.resolve(onProgress?.({ done, total })), signal);
  signal?.throwIfAborted();
}
