/** Groups of bars, each with its spread. */
import { type Axis, frame, HEIGHT, LEGEND, WIDTH, xAt, yAt } from "./axes.ts";
import { colourOf, drawing, escaped, legend, pixels, text } from "./svg.ts";

export interface BarGroup {
  readonly name: string;
  /** A bar for each series; `spread` is drawn on both sides of the value. Series number as in `series`. */
  readonly bars: readonly { readonly name: string; readonly value: number; readonly spread?: number }[];
}

export function barChart({
  title,
  y,
  groups,
  series,
}: {
  title: string;
  y: Axis;
  groups: readonly BarGroup[];
  series: readonly string[];
}): string {
  const x: Axis = { label: "", from: 0, to: groups.length };
  const parts = groups.flatMap(({ name, bars }, group) => {
    const width = 0.8 / Math.max(1, bars.length);
    return [
      ...bars.flatMap((bar, index) =>
        oneBar(bar, index, [xAt(x, group + 0.1 + index * width), xAt(x, group + 0.1 + (index + 0.9) * width)], y),
      ),
      text([xAt(x, group + 0.5), HEIGHT - 28], name, 'text-anchor="middle"'),
    ];
  });
  return drawing(WIDTH, HEIGHT, title, [...frame(y), ...parts, ...legend(series, LEGEND)]);
}

function oneBar(
  { name, value, spread = 0 }: BarGroup["bars"][number],
  series: number,
  [left, right]: [number, number],
  y: Axis,
): string[] {
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
