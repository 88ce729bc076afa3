/** Lines through means with each prompt's point around them, and plain scatter plots. */
import { type Axis, frame, HEIGHT, LEGEND, WIDTH, xAt, yAt } from "./axes.ts";
import { colourOf, drawing, legend, mark, type Place, pixels } from "./svg.ts";

export interface PointSeries {
  readonly name: string;
  /** Joined by a line. */
  readonly line?: readonly Place[];
  /** Single points, as of prompts; fainter beside lines. */
  readonly points?: readonly Place[];
}

export interface PointPlot {
  readonly title: string;
  readonly x: Axis;
  readonly y: Axis;
  readonly series: readonly PointSeries[];
  /** A dashed line: what would be if both were equal. */
  readonly diagonal?: boolean;
  /** Points are moved sideways by up to so much, so that equal ones are seen. The same points give the same plot. */
  readonly jitter?: number;
}

/** -1 .. 1, evenly spread over successive numbers. */
const spreadOf = (index: number) => 2 * ((index * 0.618034) % 1) - 1;

export function pointPlot({ title, x, y, series, diagonal, jitter = 0 }: PointPlot): string {
  const at = ([px, py]: Place): Place => [xAt(x, px), yAt(y, py)];
  const [radius, opacity] = series.some(({ line }) => line) ? [2, 0.35] : [3, 0.7];
  const clouds = series.flatMap(({ points = [] }, number) =>
    points.map(([px, py], index) => mark(at([px + jitter * spreadOf(index), py]), number, radius, opacity)),
  );
  const lines = series.flatMap(({ line = [] }, number) => [
    `<path fill="none" stroke="${colourOf(number)}" stroke-width="2" d="${pathOf(line.map(at))}"/>`,
    ...line.map((place) => mark(at(place), number, 3.5)),
  ]);
  const low = Math.max(x.from, y.from);
  const high = Math.min(x.to, y.to);
  const equal = diagonal ? [`<path class="reference" d="${pathOf([at([low, low]), at([high, high])])}"/>`] : [];
  return drawing(WIDTH, HEIGHT, title, [
    ...frame(y, x),
    ...equal,
    ...clouds,
    ...lines,
    ...legend(
      series.map(({ name }) => name),
      LEGEND,
    ),
  ]);
}

const pathOf = (places: readonly Place[]) =>
  places.map(([x, y], index) => `${index === 0 ? "M" : "L"}${pixels(x)} ${pixels(y)}`).join("");
