/** The result of a forward pass: logits and captures. */
import type { Logits } from "../model/logits.ts";
import type { ActivationCache } from "./activation-cache.ts";

/** What a forward pass gives. Works with `using`. */
export interface ForwardResult {
  /** Logits on the GPU; an empty [batch, 0, vocab] with `stopAtLayer`. */
  logits: Logits;
  /** What was captured; empty without `capture`. */
  cache: ActivationCache;
  /** Frees both. */
  destroy(): void;
  /** The end of a `using` block. */
  [Symbol.dispose](): void;
}

export function forwardResult(logits: Logits, cache: ActivationCache): ForwardResult {
  const destroy = () => {
    logits.destroy();
    cache.destroy();
  };
  return { logits, cache, destroy, [Symbol.dispose]: destroy };
}
