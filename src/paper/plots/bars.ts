/** Groups of bars with their names below, each bar with its spread. */
import { type Axis, frame, HEIGHT, WIDTH, xAt, yAt } from "./axes.ts";
import { colourOf, drawing, escaped, pixels, text } from "./svg.ts";

export interface Bar {
  readonly name: string;
  readonly value: number;
  /** Drawn on both sides of the value. */
  readonly spread?: number;
  /** What it is of, which gives its colour; unless told its number in the group. */
  readonly series?: number;
}

export interface BarGroup {
  readonly name: string;
  readonly bars: readonly Bar[];
}

/** The series of what is none of the others. */
export const OTHER = 4;

/** Room for names of bars and groups. */
const BELOW = 54;

/** The bars of all groups are as wide. */
export function barChart({ title, y, groups }: { title: string; y: Axis; groups: readonly BarGroup[] }): string {
  // A bar's place is its number, with a gap of one between groups.
  const starts = groups.map((_, group) => groups.slice(0, group).reduce((sum, { bars }) => sum + bars.length + 1, 0.5));
  const total = groups.reduce((sum, { bars }) => sum + bars.length + 1, 0);
  const x: Axis = { label: "", from: 0, to: (total * (WIDTH - 212)) / (WIDTH - 80) };
  const base = HEIGHT - 36;
  const parts = groups.flatMap(({ name, bars }, group) => {
    const start = starts[group] as number;
    return [
      ...bars.flatMap((bar, index) => oneBar(bar, bar.series ?? index, [start + index, start + index + 0.9], x, y)),
      ...bars.map((bar, index) => {
        const middle = xAt(x, start + index + 0.6);
        return text(
          [middle, base],
          bar.name,
          `font-size="10" text-anchor="end" transform="rotate(-40 ${pixels(middle)} ${base})"`,
        );
      }),
      text([xAt(x, start + bars.length / 2), HEIGHT + BELOW - 10], name, 'text-anchor="middle"'),
    ];
  });
  return drawing(WIDTH, HEIGHT + BELOW, title, [...frame(y, undefined, WIDTH - 18), ...parts]);
}

function oneBar(
  { name, value, spread = 0 }: Bar,
  series: number,
  places: readonly [number, number],
  x: Axis,
  y: Axis,
): string[] {
  const [left, right] = places.map((place) => xAt(x, place)) as [number, number];
  const [top, bottom] = [yAt(y, value), yAt(y, Math.max(0, y.from))];
  const middle = pixels((left + right) / 2);
  const [low, high] = [value - spread, value + spread].map((edge) =>
    pixels(yAt(y, Math.min(y.to, Math.max(y.from, edge)))),
  );
  const label = `${name}: ${value.toFixed(3)}${spread ? ` ± ${spread.toFixed(3)}` : ""}`;
  return [
    `<rect x="${pixels(left)}" y="${pixels(Math.min(top, bottom))}" width="${pixels(right - left)}" height="${pixels(Math.abs(bottom - top))}" fill="${colourOf(series)}"><title>${escaped(label)}</title></rect>`,
    ...(spread ? [`<path class="spread" d="M${middle} ${low}V${high}"/>`] : []),
  ];
}
