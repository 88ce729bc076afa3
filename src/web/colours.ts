/**
 * Colours of numbers, readable for the colour-blind: blue for what is large or above 0, red for what is below, both through the
 * page's own background. Strength ends at 0.6, where the page's text on it still has a contrast above 4.5 in light and in dark.
 */
const STRONGEST = 0.6;

/** A share from 0 to 1. */
export const shareColour = (share: number): string => `rgb(33 102 172 / ${strength(share)})`;

/** A signed number: blue above 0, red below, strongest at `full` and beyond. */
export const signedColour = (value: number, full: number): string =>
  `${value >= 0 ? "rgb(33 102 172" : "rgb(178 24 43"} / ${strength(Math.abs(value) / (full || 1))})`;

const strength = (share: number): string => (STRONGEST * Math.min(1, Math.max(0, share))).toFixed(3);
