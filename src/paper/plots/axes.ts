/** A frame with a scale along each side, as lines, points and bars share it. */
import { type Place, pixels, text } from "./svg.ts";

export interface Axis {
  /** What is shown, with its unit: "probability", "KL (nats)". */
  readonly label: string;
  readonly from: number;
  readonly to: number;
}

export const WIDTH = 620;
export const HEIGHT = 360;
const MARGIN = { left: 62, right: 150, top: 38, bottom: 48 };

/** Where legends go. */
export const LEGEND: Place = [WIDTH - MARGIN.right + 16, MARGIN.top + 10];

/** An axis that holds all values, from 0 if they are near it. */
export function axisOf(label: string, values: readonly number[]): Axis {
  const finite = values.filter(Number.isFinite);
  const [least, most] = [Math.min(0, ...finite), Math.max(...finite, 0)];
  const step = niceStep((most - least || 1) / 5);
  return { label, from: Math.floor(least / step) * step, to: Math.max(Math.ceil(most / step), 1) * step };
}

/** 1, 2 or 5 times a power of ten, at least as large. */
function niceStep(least: number): number {
  const power = 10 ** Math.floor(Math.log10(least));
  return power * ([1, 2, 5, 10].find((factor) => factor * power >= least * 0.999) as number);
}

export function ticksOf({ from, to }: Axis): number[] {
  const step = niceStep((to - from) / 5);
  return Array.from({ length: Math.floor((to - from) / step + 1e-9) + 1 }, (_, index) =>
    Number((from + index * step).toPrecision(12)),
  );
}

const along = ({ from, to }: Axis, value: number) => (value - from) / (to - from);

export const xAt = (axis: Axis, value: number): number =>
  MARGIN.left + along(axis, value) * (WIDTH - MARGIN.left - MARGIN.right);
export const yAt = (axis: Axis, value: number): number =>
  HEIGHT - MARGIN.bottom - along(axis, value) * (HEIGHT - MARGIN.top - MARGIN.bottom);

/** The vertical scale with its grid as far as `right`; the horizontal one too if there is one. */
export function frame(y: Axis, x?: Axis, right = WIDTH - MARGIN.right): string[] {
  const [left, bottom] = [MARGIN.left, HEIGHT - MARGIN.bottom];
  const middle = (MARGIN.top + bottom) / 2;
  return [
    `<path class="axis" d="M${left} ${MARGIN.top}V${bottom}H${right}"/>`,
    ...ticksOf(y).flatMap((tick) => [
      `<path class="grid" d="M${left} ${pixels(yAt(y, tick))}H${right}"/>`,
      text([left - 8, yAt(y, tick) + 4], String(tick), 'text-anchor="end"'),
    ]),
    ...(x ? ticksOf(x).map((tick) => text([xAt(x, tick), bottom + 18], String(tick), 'text-anchor="middle"')) : []),
    ...(x ? [text([(left + right) / 2, HEIGHT - 10], x.label, 'text-anchor="middle"')] : []),
    text([18, middle], y.label, `text-anchor="middle" transform="rotate(-90 18 ${pixels(middle)})"`),
  ];
}
