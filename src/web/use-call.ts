/** A call of the engine as a component sees it: what came of it, how far it is, and how to stop it. */
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import type { ArgumentsOf, CallName, Engine, ResultOf } from "./client.ts";
import type { Progress } from "./protocol.ts";

export interface CallState<Result> {
  readonly result: Result | undefined;
  readonly error: Error | undefined;
  readonly progress: Progress | undefined;
  readonly isRunning: boolean;
  stop(): void;
}

/**
 * Runs a call whenever `args` change in value, and stops the one before. `undefined` as arguments runs nothing. The last result
 * stays until there is another, so that a view does not flicker; not so with `isFresh`, for what must not be taken for an answer to
 * other arguments.
 */
export function useCall<Name extends CallName>(
  engine: Engine,
  name: Name,
  args: ArgumentsOf<Name> | undefined,
  { isFresh = false }: { isFresh?: boolean } = {},
): CallState<ResultOf<Name>> {
  type Now = Omit<CallState<ResultOf<Name>>, "stop">;
  const nothing: Now = { result: undefined, error: undefined, progress: undefined, isRunning: false };
  const [{ of, ...now }, setNow] = useState<Now & { of: string | undefined }>({ ...nothing, of: undefined });
  const running = useRef<AbortController>(undefined);
  const key = args === undefined ? undefined : JSON.stringify(args);
  useEffect(() => {
    if (key === undefined || args === undefined) {
      setNow({ ...nothing, of: undefined });
      return;
    }
    const controller = new AbortController();
    running.current = controller;
    const { signal } = controller;
    const change = (part: Partial<Now>) => {
      if (!signal.aborted) setNow((before) => ({ ...before, ...part }));
    };
    setNow((before) => ({ ...nothing, isRunning: true, result: isFresh ? undefined : before.result, of: key }));
    engine.call(name, args, { signal, onProgress: (progress) => change({ progress }) }).then(
      (result) => change({ result, progress: undefined, isRunning: false }),
      (error: Error) => change({ error, result: undefined, progress: undefined, isRunning: false }),
    );
    return () => controller.abort();
  }, [engine, name, key]);
  const stop = useCallback(() => {
    running.current?.abort();
    setNow((before) => ({ ...before, isRunning: false })); // what progress has shown stays
  }, []);
  // Between a change of the arguments and the effect that follows it, what is known is of the call before.
  if (isFresh && of !== key) return { ...nothing, isRunning: key !== undefined, stop };
  return { ...now, stop };
}
