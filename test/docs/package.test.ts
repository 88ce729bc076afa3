/** What `npm pack` brings: docs and examples with the code, and no link in README or docs to a file that stays behind. */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join, posix } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

const [{ files }] = JSON.parse(
  execFileSync("npm", ["pack", "--dry-run", "--json", "--ignore-scripts"], { cwd: ROOT, encoding: "utf8" }),
) as [{ files: { path: string }[] }];
const packed = new Set(files.map(({ path }) => path));
const pages = [...packed].filter((path) => path.endsWith(".md"));

/** The relative links and pictures of a page, from the package's root; those in samples of code are none. */
function linksOf(page: string): string[] {
  const text = readFileSync(join(ROOT, page), "utf8").replace(/```.*?```/gs, "");
  const links = [...text.matchAll(/\]\(([^)\s]+)\)|(?:src|href)="([^"]+)"/g)].map(
    ([, link, other]) => link ?? other ?? "",
  );
  const relative = links.map((link) => link.replace(/#.*/, "")).filter((link) => link !== "" && !/^[a-z]+:/.test(link));
  return relative.map((link) => posix.join(posix.dirname(page), link).replace(/\/$/, ""));
}

describe("the packed package", () => {
  it("has README, docs and examples, and nothing of a report or of this project's own settings", () => {
    for (const path of ["README.md", "docs/hooks.md", "docs/recipes/circuits.md", "examples/circuits.ts"])
      expect(packed).toContain(path);
    expect([...packed].filter((path) => /^docs\/paper\/|tsconfig|^(src|test|scripts)\//.test(path))).toEqual([]);
  });

  it.each(pages)("has every file that %s links to", (page) => {
    const hasFolder = (link: string) => [...packed].some((path) => path.startsWith(`${link}/`));
    expect(linksOf(page).filter((link) => !packed.has(link) && !hasFolder(link))).toEqual([]);
  });

  it("is read: README has links", () => {
    expect(linksOf("README.md")).toContain("docs/hooks.md");
  });
});
