/**
 * Draws docs/attribution-patching.svg, attribution patching against exact patching, and prints the figures beside it in
 * docs/recipes/attribution-patching.md:
 *
 *   npx tsx --import ./scripts/wgsl-loader.mjs scripts/attribution-picture.ts TinyStories-656K
 *
 * A point is a cell: across, how the exact patch changes the metric; up, how attribution says it does.
 */
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { type ComparedCell, compareWithExact, loadModel, metric, type Site } from "../src/node.ts";

const OUT = fileURLToPath(new URL("../docs/attribution-patching.svg", import.meta.url));
const COLOURS: Partial<Record<Site, string>> = { resid_pre: "#c0504d", z: "#3b6fb6" };
const SIZE = 460;
const MARGIN = 46;

/** Prompts that differ in a word, both ways around. */
const WORDS = ["cat", "dog", "bird", "ball"];
const PAIRS = WORDS.flatMap((a) => WORDS.filter((b) => b !== a).map((b) => [a, b] as const));
const prompt = (word: string) => `Lily saw a ${word}. She liked the `;

const model = await loadModel(process.argv[2] as string);

/** The cells of all pairs at a site. */
async function cellsAt(at: Site): Promise<ComparedCell[]> {
  const cells: ComparedCell[] = [];
  for (const [a, b] of PAIRS) {
    const chosen = metric.logitDiff(model.toSingleToken(a), model.toSingleToken(b));
    cells.push(
      ...(await compareWithExact(model, { clean: prompt(a), corrupted: prompt(b), metric: chosen, at })).cells,
    );
  }
  return cells;
}

/** Pearson's correlation of approximate and exact. */
function correlationOf(cells: readonly ComparedCell[]): number {
  const mean = (of: (cell: ComparedCell) => number) => cells.reduce((sum, cell) => sum + of(cell), 0) / cells.length;
  const [a, b] = [mean(({ approximate }) => approximate), mean(({ exact }) => exact)];
  const covariance = mean(({ approximate, exact }) => (approximate - a) * (exact - b));
  return (
    covariance / Math.sqrt(mean(({ approximate }) => (approximate - a) ** 2) * mean(({ exact }) => (exact - b) ** 2))
  );
}

/** The cells that change the metric at all: causality leaves the others where they are. */
const changing = (cells: readonly ComparedCell[]) => cells.filter(({ exact }) => Math.abs(exact) > 1e-3);

/** A row of the recipe's table. */
function figures(at: Site, cells: readonly ComparedCell[]): string {
  const moved = changing(cells);
  const largest = (of: (cell: ComparedCell) => number, among = moved) =>
    Math.max(0, ...among.map((cell) => Math.abs(of(cell))));
  const opposite = moved.filter(({ approximate, exact }) => approximate * exact < 0);
  const numbers = [
    correlationOf(moved).toFixed(3),
    largest(({ approximate, exact }) => approximate - exact).toFixed(2),
    largest(({ exact }) => exact).toFixed(2),
    `${opposite.length}, changes of at most ${largest(({ exact }) => exact, opposite).toFixed(2)}`,
  ];
  return `| \`${at}\` | ${moved.length} of ${cells.length} | ${numbers.join(" | ")} |`;
}

function picture(sites: readonly [Site, ComparedCell[]][]): string {
  const all = sites.flatMap(([, cells]) => cells.flatMap(({ approximate, exact }) => [approximate, exact]));
  const [low, high] = [Math.floor(Math.min(...all)), Math.ceil(Math.max(...all))];
  const x = (value: number) => MARGIN + ((value - low) / (high - low)) * (SIZE - 2 * MARGIN);
  const y = (value: number) => SIZE - x(value);
  const line = (x1: number, y1: number, x2: number, y2: number, style: string) =>
    `<line x1="${x(x1).toFixed(1)}" y1="${y(y1).toFixed(1)}" x2="${x(x2).toFixed(1)}" y2="${y(y2).toFixed(1)}" ${style}/>`;
  const text = (at: [number, number], words: string, more = "") =>
    `<text x="${at[0].toFixed(1)}" y="${at[1].toFixed(1)}" ${more}>${words}</text>`;
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${SIZE}" height="${SIZE}" font-family="sans-serif" font-size="12" fill="#333">`,
    `<rect width="${SIZE}" height="${SIZE}" fill="#fff"/>`,
    line(low, low, high, high, 'stroke="#999" stroke-dasharray="4 4"'),
    line(low, 0, high, 0, 'stroke="#ccc"'),
    line(0, low, 0, high, 'stroke="#ccc"'),
  ];
  for (let tick = low; tick <= high; tick += 2) {
    parts.push(text([x(tick), SIZE - MARGIN + 16], String(tick), 'text-anchor="middle"'));
    parts.push(text([MARGIN - 8, y(tick) + 4], String(tick), 'text-anchor="end"'));
  }
  sites.forEach(([at, cells], index) => {
    const fill = `fill="${COLOURS[at]}" fill-opacity="0.6"`;
    for (const { exact, approximate } of changing(cells))
      parts.push(`<circle cx="${x(exact).toFixed(1)}" cy="${y(approximate).toFixed(1)}" r="3" ${fill}/>`);
    parts.push(`<circle cx="${MARGIN + 12}" cy="${MARGIN + 18 * index}" r="4" ${fill}/>`);
    parts.push(
      text([MARGIN + 22, MARGIN + 4 + 18 * index], `${at}: correlation ${correlationOf(changing(cells)).toFixed(3)}`),
    );
  });
  parts.push(text([SIZE / 2, SIZE - 10], "change of the logit difference by the exact patch", 'text-anchor="middle"'));
  const middle: [number, number] = [14, SIZE / 2];
  parts.push(text(middle, "by attribution", `text-anchor="middle" transform="rotate(-90 ${middle.join(" ")})"`));
  return [...parts, "</svg>", ""].join("\n");
}

const sites: [Site, ComparedCell[]][] = [];
for (const at of ["resid_pre", "z"] as const) sites.push([at, await cellsAt(at)]);
writeFileSync(OUT, picture(sites));
for (const [at, cells] of sites) console.log(figures(at, cells));
model.destroy();
