/**
 * Colours of numbers, readable for the colour-blind: blue to red through the page's own background for signed numbers, and
 * blue of rising strength for shares. The colour says how far, the text of a cell how much.
 */

/** A share from 0 to 1. */
export const shareColour = (share: number): string => `rgb(33 102 172 / ${clamp(share).toFixed(3)})`;

/** A signed number: blue above 0, red below, full at `full` and beyond. */
export function signedColour(value: number, full: number): string {
  const strength = clamp(Math.abs(value) / (full || 1)).toFixed(3);
  return value >= 0 ? `rgb(33 102 172 / ${strength})` : `rgb(178 24 43 / ${strength})`;
}

/** Whether text on the colour has to be light: the background shows through weak colours. */
export const isStrong = (share: number): boolean => Math.abs(share) > 0.55;

const clamp = (value: number): number => Math.min(1, Math.max(0, value));
