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
import { type Picture, pointPlot } from "../src/pictures/index.ts";

const OUT = fileURLToPath(new URL("../docs/attribution-patching.svg", import.meta.url));

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

function picture(sites: readonly [Site, ComparedCell[]][]): Picture {
  return pointPlot(
    sites.map(([at, cells]) => ({
      name: `${at}: correlation ${correlationOf(changing(cells)).toFixed(3)}`,
      points: changing(cells).map(({ exact, approximate }) => [exact, approximate] as const),
    })),
    {
      title: "Attribution patching beside exact patching, a point a cell",
      x: { label: "change of the logit difference by the exact patch" },
      y: { label: "by attribution" },
      diagonal: true,
    },
  );
}

const sites: [Site, ComparedCell[]][] = [];
for (const at of ["resid_pre", "z"] as const) sites.push([at, await cellsAt(at)]);
writeFileSync(OUT, await picture(sites).svg());
for (const [at, cells] of sites) console.log(figures(at, cells));
model.destroy();
