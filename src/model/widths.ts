/** How wide the vectors of a head are, where queries and keys, values, and what attention computes with differ. */
import type { Architecture } from "./architecture.ts";

/** Of values, and of what a head gives. */
export function dValueOf({ dHead, dValue }: Pick<Architecture, "dHead" | "dValue">): number {
  return dValue ?? dHead;
}

/**
 * Of queries, keys and values in attention and in the key-value cache, where all are as wide: vectors that are narrower end in zeros. A zero
 * adds nothing to q·k, and values that are zero mix to zero. Where widths differ it is a multiple of four, as kernels need it.
 */
export function attentionWidth(
  spec: Pick<Architecture, "dHead" | "dValue"> & { attention?: Pick<Architecture["attention"], "latent"> },
): number {
  const { dHead, attention } = spec;
  const dValue = dValueOf(spec);
  return dValue === dHead && !attention?.latent ? dHead : 4 * Math.ceil(Math.max(dHead, dValue) / 4);
}
