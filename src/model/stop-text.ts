/**
 * Text of generated tokens, up to the first stop string. A stop string may arrive in pieces, so text that may be the
 * beginning of one is held back until that is decided.
 */
import type { TokenStream } from "../tokenizer/index.ts";

/** What may be shown now, and whether a stop string came. */
export interface StopTextPart {
  text: string;
  stopped: boolean;
}

export class StopText {
  #held = "";

  /** Without a stream (no tokenizer) all text is empty. */
  constructor(
    private readonly stream: TokenStream | undefined,
    private readonly stops: readonly string[],
  ) {}

  push(token: number): StopTextPart {
    return this.#take(this.stream?.push(token) ?? "");
  }

  /** The rest; nothing can become a stop string any more. */
  end(): string {
    const { text } = this.#take(this.stream?.end() ?? "");
    const rest = text + this.#held;
    this.#held = "";
    return rest;
  }

  #take(added: string): StopTextPart {
    const text = this.#held + added;
    const found = this.stops.map((stop) => text.indexOf(stop)).filter((index) => index >= 0);
    if (found.length > 0) {
      this.#held = "";
      return { text: text.slice(0, Math.min(...found)), stopped: true };
    }
    const shown = text.length - this.#possibleStop(text);
    this.#held = text.slice(shown);
    return { text: text.slice(0, shown), stopped: false };
  }

  /** Length of the longest end of `text` that begins a stop string. */
  #possibleStop(text: string): number {
    const longest = Math.max(0, ...this.stops.map((stop) => stop.length - 1));
    for (let length = Math.min(longest, text.length); length > 0; length--) {
      const end = text.slice(-length);
      if (this.stops.some((stop) => stop.startsWith(end))) return length;
    }
    return 0;
  }
}
