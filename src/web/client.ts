/** The page's side of the worker: a call is a promise, with progress and an AbortSignal. */
import type { Calls } from "./engine/calls.ts";
import type { Failure, Progress, Reply, Request } from "./protocol.ts";

export type CallName = keyof Calls;
export type ArgumentsOf<Name extends CallName> = Parameters<Calls[Name]>[0];
export type ResultOf<Name extends CallName> = Awaited<ReturnType<Calls[Name]>>;

export interface CallOptions {
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: Progress) => void;
}

/** An error of the engine, with its code. */
export class EngineError extends Error {
  readonly code: string | undefined;

  constructor({ name, message, code }: Failure) {
    super(message);
    this.name = name;
    this.code = code;
  }
}

interface Waiting {
  resolve(result: unknown): void;
  reject(error: unknown): void;
  readonly onProgress: ((progress: Progress) => void) | undefined;
}

export class Engine {
  readonly #worker: Worker;
  readonly #waiting = new Map<number, Waiting>();
  #calls = 0;
  /** Why the worker answers no more. */
  #end: Failure | undefined;

  constructor(worker: Worker) {
    this.#worker = worker;
    worker.onmessage = ({ data }: MessageEvent<Reply>) => this.#receive(data);
    worker.onerror = ({ message }) => {
      const reason = message ? `has stopped: ${message}` : "could not be loaded";
      const failure = { name: "Error", message: `The engine ${reason}. Reload the page.`, code: undefined };
      this.#end = failure;
      for (const id of [...this.#waiting.keys()]) this.#receive({ id, failure });
    };
  }

  /** Runs a call of `engine/calls.ts` in the worker. Rejects with an `EngineError`, or with the signal's reason. */
  call<Name extends CallName>(name: Name, args: ArgumentsOf<Name>, options: CallOptions = {}): Promise<ResultOf<Name>> {
    const { signal, onProgress } = options;
    if (signal?.aborted) return Promise.reject(signal.reason);
    if (this.#end) return Promise.reject(new EngineError(this.#end));
    const id = this.#calls++;
    return new Promise<ResultOf<Name>>((resolve, reject) => {
      const abort = () => {
        this.#post({ id, isAbort: true });
        this.#waiting.delete(id);
        reject(signal?.reason);
      };
      const settle =
        <T>(then: (value: T) => void) =>
        (value: T) => {
          signal?.removeEventListener("abort", abort);
          then(value);
        };
      this.#waiting.set(id, {
        resolve: settle((value) => resolve(value as ResultOf<Name>)),
        reject: settle(reject),
        onProgress,
      });
      signal?.addEventListener("abort", abort, { once: true });
      this.#post({ id, call: name, args });
    });
  }

  #post(request: Request): void {
    this.#worker.postMessage(request);
  }

  #receive(reply: Reply): void {
    const waiting = this.#waiting.get(reply.id);
    if (!waiting) return; // it was aborted
    if ("progress" in reply) {
      waiting.onProgress?.(reply.progress);
      return;
    }
    this.#waiting.delete(reply.id);
    if ("failure" in reply) waiting.reject(new EngineError(reply.failure));
    else waiting.resolve(reply.result);
  }
}
