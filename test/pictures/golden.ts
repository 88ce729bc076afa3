/**
 * A picture whose SVG is a fixture: all hosts draw the same bytes. After a change of Vega or of ours, make it again and look at it:
 *
 *   npx vitest run test/pictures -u
 */
import { heatMap, type Picture } from "../../src/pictures/index.ts";

const COLUMNS = ["<|start|>", " Lily", "\n", "语言", "W", "i".repeat(30)];

export function goldenPicture(): Picture {
  const rows = Array.from({ length: 3 }, (_, row) =>
    COLUMNS.map((_, column) => (row === 1 && column === 2 ? Number.NaN : (row - 1) * (column - 2.5) * 0.123456789)),
  );
  return heatMap(rows, {
    title: "The same bytes in Node, Deno and a browser, whatever fonts they have",
    measure: "nats",
    rows: ["L0", "L1", "L2"],
    columns: COLUMNS,
    rowName: "layer",
    columnName: "position",
  });
}
