/** docs/hooks.md says what the code says. */
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { HOOKS_PAGE, withPointsTable } from "../../scripts/docs-points.ts";
import type { Architecture } from "../../src/model/spec.ts";
import { axesOf, WEIGHT_NAMES, WEIGHTS } from "../../src/model/weights/table.ts";

const QK_NORMS = ["head", "perHead", "full"] as const;

const page = readFileSync(HOOKS_PAGE, "utf8");

it("has the table of points (npx tsx scripts/docs-points.ts writes it)", () => {
  expect(withPointsTable(page)).toBe(page);
});

it("has the names and shapes of all weights", () => {
  const section = page.slice(page.indexOf("\n## Weights"), page.indexOf("\n## Capture"));
  const lines = [...section.matchAll(/^\| (`[^|]+`) \| (\[[^|]+\]) \|/gm)];
  const listed = lines.flatMap(([, names = "", shape]) =>
    [...names.matchAll(/`([^`]+)`/g)].map(([, name]) => [name, shape]),
  );
  const shapes = WEIGHT_NAMES.map((name) => {
    const kinds = QK_NORMS.map((qkNorm) => {
      const { lens } = axesOf({ attention: { qkNorm }, embed: {} } as Architecture, name);
      return `[${lens.map((group) => group.join(" * ")).join(", ")}]`;
    });
    return [WEIGHTS[name].lens.replace("{i}", "i"), [...new Set(kinds)].join(" or ")];
  });
  expect(new Map(listed as [string, string][])).toEqual(new Map(shapes as [string, string][]));
});

it("links to every recipe", () => {
  const recipes = readdirSync(fileURLToPath(new URL("../../docs/recipes", import.meta.url)));
  const linked = [...page.matchAll(/\(recipes\/([^)]+)\)/g)].map(([, name]) => name);
  expect(new Set(linked)).toEqual(new Set(recipes));
});

it("explains every error of captures, edits, sweeps and experiments", () => {
  const folder = fileURLToPath(new URL("../../src/", import.meta.url));
  const files = ["hooks/", "hooks/patching/", "hooks/paths/", "hooks/attribution/", "ops/"].flatMap((part) =>
    readdirSync(folder + part)
      .filter((name) => name.endsWith(".ts"))
      .map((name) => folder + part + name),
  );
  const thrown = files.flatMap((file) => readFileSync(file, "utf8").match(/"hook\/[a-z-]+"/g) ?? []);
  const codes = [...new Set(thrown)].map((code) => code.replaceAll('"', ""));
  expect(codes.length).toBeGreaterThan(25);
  expect(codes.filter((code) => !page.includes(`\`${code}\``))).toEqual([]);
});
