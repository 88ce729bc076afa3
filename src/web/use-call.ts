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
 * stays until there is another, so that a view does not flicker; not so with `isFresh`, for results that end with the next call.
 */
export function useCall<Name extends CallName>(
  engine: Engine,
  name: Name,
  args: ArgumentsOf<Name> | undefined,
  { isFresh = false }: { isFresh?: boolean } = {},
): CallState<ResultOf<Name>> {
  type Now = Omit<CallState<ResultOf<Name>>, "stop">;
  const [now, setNow] = useState<Now>({ result: undefined, error: undefined, progress: undefined, isRunning: false });
  const running = useRef<AbortController>(undefined);
  const key = args === undefined ? undefined : JSON.stringify(args);
  useEffect(() => {
    if (key === undefined || args === undefined) {
      setNow({ result: undefined, error: undefined, progress: undefined, isRunning: false });
      return;
    }
    const controller = new AbortController();
    running.current = controller;
    const { signal } = controller;
    const change = (part: Partial<Now>) => {
      if (!signal.aborted) setNow((before) => ({ ...before, ...part }));
    };
    change({ error: undefined, progress: undefined, isRunning: true, ...(isFresh && { result: undefined }) });
    engine.call(name, args, { signal, onProgress: (progress) => change({ progress }) }).then(
      (result) => change({ result, progress: undefined, isRunning: false }),
      (error: Error) => change({ error, result: undefined, progress: undefined, isRunning: false }),
    );
    return () => controller.abort();
  }, [engine, name, key]);
  const stop = useCallback(() => {
    running.current?.abort();
    setNow((before) => ({ ...before, progress: undefined, isRunning: false }));
  }, []);
  return { ...now, stop };
}
