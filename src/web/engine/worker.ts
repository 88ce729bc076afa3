/** The worker that holds the engine: it answers the calls of `calls.ts`, several at a time, so that one can be stopped while it runs. */
import { SuperlensError } from "../../errors.ts";
import type { Failure, Reply, Request, Running } from "../protocol.ts";
import { CALLS } from "./calls.ts";

const running = new Map<number, AbortController>();
/** The global scope of a worker, of which a page's types know only the window. */
const scope = globalThis as unknown as {
  onmessage: (event: { data: Request }) => void;
  postMessage(reply: Reply): void;
};

scope.onmessage = ({ data }) => {
  if ("isAbort" in data) running.get(data.id)?.abort();
  else void answer(data.id, data.call, data.args);
};

async function answer(id: number, name: string, args: unknown): Promise<void> {
  const controller = new AbortController();
  running.set(id, controller);
  const options: Running = {
    signal: controller.signal,
    onProgress: (progress) => scope.postMessage({ id, progress }),
  };
  try {
    const call = CALLS[name as keyof typeof CALLS] as (args: unknown, running: Running) => Promise<unknown>;
    const result = await call(args, options);
    scope.postMessage({ id, result });
  } catch (error) {
    scope.postMessage({ id, failure: failureOf(error) });
  } finally {
    running.delete(id);
  }
}

function failureOf(error: unknown): Failure {
  const { name, message } = error instanceof Error ? error : new Error(String(error));
  return { name, message, code: error instanceof SuperlensError ? error.code : undefined };
}
