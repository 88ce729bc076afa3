/**
 * Writes the table of points in docs/hooks.md from the table that the code uses:
 *
 *   npx tsx scripts/docs-points.ts
 */
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { type Axis, LATENT_POINT_KINDS, POINT_KINDS, pointTable } from "../src/hooks/points.ts";
import { specFromConfig } from "../src/model/families/index.ts";
import { edited, FIXTURES } from "../test/families/fixtures.ts";

export const HOOKS_PAGE = fileURLToPath(new URL("../docs/hooks.md", import.meta.url));

const START = "<!-- points: written by scripts/docs-points.ts -->";
const END = "<!-- end of points -->";

/** Forms of a family that have other points than its usual one. */
const VARIANTS: readonly [label: string, family: string, changes: Record<string, unknown>][] = [
  ["parallel stablelm", "stablelm", { use_parallel_residual: true }],
  ["sequential falcon", "falcon", { new_decoder_architecture: false, parallel_attn: false }],
];

const SPECS = [...FIXTURES.map((name) => [name, name, {}] as const), ...VARIANTS].map(([label, family, changes]) => ({
  label,
  spec: specFromConfig(edited(family, changes), "config.json"),
}));

/** The families in whose graph the point does not appear: in no layer, or not in all. */
function familiesWithout(kind: string): string[] {
  return SPECS.flatMap(({ label, spec }) => {
    const names = pointTable(spec);
    const layers = kind.includes("{i}") ? [...spec.layers.keys()] : [0];
    const missing = layers.filter((layer) => !names.has(kind.replace("{i}", String(layer)))).length;
    if (missing === 0) return [];
    return missing === layers.length ? [label] : [`some layers of ${label}`];
  });
}

/** The shorter of those that lack it and those that have it. */
function summary(without: readonly string[], needs: string): string {
  const others = SPECS.map(({ label }) => label).filter((label) => !without.includes(label));
  if (others.length === 0) return needs.includes("latent") ? "all without it" : "all without experts";
  return without.length > others.length ? `all but ${others.join(", ")}` : without.join(", ");
}

/** A markdown table with one line a point. */
export function pointsTable(): string {
  const lines = POINT_KINDS.map(({ name, axes, meaning, formula, needs }) => {
    const shape = `[${axes.map(axisName).join(", ")}]`;
    const without = summary(familiesWithout(name), needs);
    return row([`\`${name.replace("{i}", "i")}\``, shape, meaning, `\`${formula}\``, needs || "—", without || "—"]);
  });
  return [
    row(["point", "shape", "meaning", "formula", "needs", "absent in"]),
    row(["---", "---", "---", "---", "---", "---"]),
    ...lines,
  ].join("\n");
}

/** What other names of the same mean in models with latent attention. */
export function latentTable(): string {
  const lines = LATENT_POINT_KINDS.map(({ name, axes, meaning, formula }) =>
    row([`\`${name.replace("{i}", "i")}\``, `[${axes.map(axisName).join(", ")}]`, meaning, `\`${formula}\``]),
  );
  return [row(["point", "shape", "meaning", "formula"]), row(["---", "---", "---", "---"]), ...lines].join("\n");
}

const LATENT =
  "In models with latent attention (deepseek) four of these names stand for others, as in TransformerLens:";

/** The page with the table between its two markers replaced. */
export function withPointsTable(page: string): string {
  const [start, end] = [page.indexOf(START), page.indexOf(END)];
  if (start < 0 || end < start) throw new Error(`docs/hooks.md lacks its markers, ${START} and ${END}.`);
  return `${page.slice(0, start + START.length)}\n\n${pointsTable()}\n\n${LATENT}\n\n${latentTable()}\n\n${page.slice(end)}`;
}

const axisName = (axis: Axis) => (axis === "one" ? "1" : axis);
const row = (cells: readonly string[]) => `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  writeFileSync(HOOKS_PAGE, withPointsTable(readFileSync(HOOKS_PAGE, "utf8")));
}
