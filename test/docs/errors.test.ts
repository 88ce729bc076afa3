/** docs/errors.md lists every error code of the sources, and no other. */
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

const root = new URL("../../", import.meta.url);
const AREAS = "bench|checkpoint|cli|config|gpu|hook|input|module|page|paper|picture|theory|tokenizer|train";
/** A code as a literal of its own. */
const LITERAL = new RegExp(`"((?:${AREAS})/[a-z0-9-]+)"`, "g");
/** The places where a code is put together, and the parts that occur: a file, and what finds its parts. */
const COMPOSED: { file: string; area: string; parts: RegExp; suffix?: string }[] = [
  { file: "src/checkpoint/safetensors.ts", area: "checkpoint", parts: /broken\(\s*"([a-z-]+)"/g },
  { file: "src/checkpoint/safetensors.ts", area: "checkpoint", parts: /\["(overlap)"|\["(hole)"/g },
  { file: "src/hooks/patching/sites.ts", area: "hook", parts: /pick\([^;]*, "(layer|head)"\)/g, suffix: "-range" },
  { file: "src/hooks/edit.ts", area: "hook", parts: /"(batch|heads|dims)"/g, suffix: "-range" },
];
/** Templates that make a code, as `hook/${name}`: every one of them needs a line in `COMPOSED`. */
const TEMPLATE = new RegExp(`\`(?:${AREAS})/[^\`]*\\$\\{`, "g");

const sourceFiles = (readdirSync(new URL("src/", root), { recursive: true }) as string[])
  .filter((name) => /\.tsx?$/.test(name))
  .map((name) => `src/${name.replaceAll("\\", "/")}`);
const textOf = (file: string) => readFileSync(fileURLToPath(new URL(file, root)), "utf8");

/** Throwing code names a code; other literals of that form are imports and messages' parts. */
function codesOfSources(): Set<string> {
  const literal = sourceFiles.flatMap((file) => [...textOf(file).matchAll(LITERAL)].map(([, code]) => code as string));
  const composed = COMPOSED.flatMap(({ file, area, parts, suffix = "" }) =>
    [...textOf(file).matchAll(parts)].map((match) => {
      const part = match.slice(1).find((group) => group !== undefined) as string;
      return `${area}/${suffix ? part.replace(/s$/, "") : part}${suffix}`;
    }),
  );
  return new Set([...literal, ...composed]);
}

/** The codes in the first cells of the page's tables. */
function codesOfPage(): Set<string> {
  return new Set(cellsOfPage().flatMap((cell) => codesIn(cell)));
}

function cellsOfPage(): string[] {
  return [...textOf("docs/errors.md").matchAll(/^\| (<a id[^|]+`) \|/gm)].map(([, cell]) => cell as string);
}

const codesIn = (cell: string) => [...cell.matchAll(/`([a-z]+\/[^`]+)`/g)].map(([, code]) => code as string);

describe("docs/errors.md", () => {
  const [sources, page] = [codesOfSources(), codesOfPage()];

  it("has every code that the sources throw", () => {
    expect(sources.size).toBeGreaterThan(100);
    expect([...sources].filter((code) => !page.has(code)).sort()).toEqual([]);
  });

  it("has no code that the sources do not know", () => {
    expect([...page].filter((code) => !sources.has(code)).sort()).toEqual([]);
  });

  it("has one anchor for each code, which the command line names", () => {
    const anchors = [...textOf("docs/errors.md").matchAll(/<a id="([^"]+)"><\/a>`([^`]+)`/g)];
    for (const [, anchor, code] of anchors) expect(anchor).toBe(code?.replace("/", "-"));
    expect(anchors.map(([, anchor]) => anchor).sort()).toEqual([...page].map((code) => code.replace("/", "-")).sort());
  });

  it("knows every place that puts a code together", () => {
    const files = sourceFiles.flatMap((file) => [...textOf(file).matchAll(TEMPLATE)].map(() => file));
    expect(new Set(files)).toEqual(new Set(COMPOSED.map(({ file }) => file)));
  });
});
