/**
 * How a command ends early: the person presses Ctrl-C, or the reader of stdout goes away. Both abort one `AbortSignal`.
 * Loading and generation obey it, so that the GPU's work ends in order. Work that does not obey is not waited for, and a
 * second Ctrl-C waits for nothing.
 */

import { abortable } from "../abort.ts";
import { note, noteJson, wantsJson } from "./output.ts";

/** Exit code of a program ended by SIGINT, as shells count it: 128 + 2. */
const INTERRUPTED = 130;

/** What has not ended in order by then, such as a server that does not answer, is ended. */
const GRACE_MS = 5000;

/** One Ctrl-C may come twice: from the terminal, and passed on by the process that filters stderr (`quiet.ts`). */
const SAME_KEY_MS = 200;

class Stop {
  readonly #controller = new AbortController();
  #exitCode = 0;
  #endedAt = 0;

  /** Aborted once the command should end. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** What to exit with after the signal: 130 after Ctrl-C, 0 when nobody reads any more, 1 when writing failed. */
  get exitCode(): number {
    return this.#exitCode;
  }

  /** Starts to listen; called once, by `main`. */
  listen(): void {
    process.on("SIGINT", () => {
      if (!this.signal.aborted) this.#end(INTERRUPTED, "interrupted");
      else if (performance.now() - this.#endedAt > SAME_KEY_MS) process.exit(INTERRUPTED);
    });
    process.stdout.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EPIPE") return this.#end(0, "stdout was closed");
      const message = `stdout cannot be written: ${error.message}`;
      if (wantsJson(process.argv)) noteJson({ code: error.code ?? "unexpected", message });
      else note(`superlens: ${message}`);
      this.#end(1, "stdout cannot be written");
    });
    // Nobody is left to be told (`2>&1 | head`); the result goes on.
    process.stderr.on("error", () => undefined);
  }

  /** `work`, or the signal's reason as soon as it comes: for work that holds nothing which must end in order. */
  until<T>(work: Promise<T>): Promise<T> {
    return abortable(work, this.signal);
  }

  #end(exitCode: number, reason: string): void {
    if (this.signal.aborted) return;
    this.#exitCode = exitCode;
    this.#endedAt = performance.now();
    setTimeout(() => process.exit(exitCode), GRACE_MS).unref();
    this.#controller.abort(new Error(reason));
  }
}

export const stop = new Stop();
