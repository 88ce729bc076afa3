/** Three shares of each prompt as a point in a triangle: in a corner one has all, in the middle each a third. */
import { drawing, mark, type Place, pixels, text } from "./svg.ts";

const SIZE = 300;
const CORNERS: readonly Place[] = [
  [60, 330],
  [360, 330],
  [210, 330 - (SIZE * Math.sqrt(3)) / 2],
];
const ANCHORS = ["start", "end", "middle"];

/** `points` are probabilities; what is shown is each one's part of their sum, the fainter the smaller the sum. */
export function ternaryPlot({
  title,
  corners,
  points,
}: {
  title: string;
  corners: readonly string[];
  points: readonly (readonly number[])[];
}): string {
  const at = (shares: readonly number[]): Place =>
    [0, 1].map((side) =>
      shares.reduce((sum, share, corner) => sum + share * ((CORNERS[corner] as Place)[side] as number), 0),
    ) as unknown as Place;
  const edges = `<path class="axis" d="M${CORNERS.map((place) => place.map(pixels).join(" ")).join("L")}Z"/>`;
  const middle = `<path class="reference" d="${CORNERS.map(
    (place) =>
      `M${at([1 / 3, 1 / 3, 1 / 3])
        .map(pixels)
        .join(" ")}L${place.map(pixels).join(" ")}`,
  ).join("")}"/>`;
  const names = CORNERS.map(([x, y], corner) =>
    text([x, y + (corner === 2 ? -8 : 20)], corners[corner] as string, `text-anchor="${ANCHORS[corner]}"`),
  );
  const marks = points.map((point) => {
    const sum = point.reduce((total, value) => total + value, 0);
    return mark(
      at(point.map((value) => value / Math.max(sum, 1e-30))),
      0,
      3,
      Number((0.1 + 0.6 * Math.min(1, sum)).toFixed(2)),
    );
  });
  const caption = text([12, 382], "The fainter a point, the more of its probability lies elsewhere.");
  return drawing(420, 392, title, [edges, middle, ...names, ...marks, caption]);
}
