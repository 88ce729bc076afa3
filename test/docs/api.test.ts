/** docs/api is what TypeDoc makes of the sources, and every exported symbol has a comment that says what it is. */
import { execFile } from "node:child_process";
import { readdir, readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";
import * as api from "../api/public.ts";
import { inTempFolder } from "../checkpoint/support.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const PAGES = join(ROOT, "docs/api");

async function pagesIn(folder: string): Promise<Map<string, string>> {
  const names = (await readdir(folder, { recursive: true })).filter((name) => name.endsWith(".md")).sort();
  return new Map(
    await Promise.all(names.map(async (name) => [name, await readFile(join(folder, name), "utf8")] as const)),
  );
}

describe("docs/api", () => {
  // TypeDoc ends with an error for an export without a comment, and for a link that leads nowhere (typedoc.json).
  it("is current: npm run docs:api", { timeout: 240_000 }, async () => {
    await inTempFolder(async (folder) => {
      const typedoc = join(createRequire(import.meta.url).resolve("typedoc/package.json"), "../bin/typedoc");
      const args = [typedoc, "--out", folder];
      const failure = await promisify(execFile)(process.execPath, args, { cwd: ROOT }).then(
        () => "",
        (error: { stdout: string; stderr: string }) => error.stderr + error.stdout,
      );
      expect(failure).toBe("");
      const [made, kept] = [await pagesIn(folder), await pagesIn(PAGES)];
      expect([...kept.keys()]).toEqual([...made.keys()]);
      for (const [name, text] of made) expect(kept.get(name) === text, `docs/api/${name} is as made now`).toBe(true);
    });
  });

  it("has every function and class of every entry", async () => {
    const text = [...(await pagesIn(PAGES)).values()].join("\n").replaceAll("\\_", "_");
    const names = [...Object.keys(api), ...Object.keys(api.paper)].filter((name) => name !== "paper");
    expect(names.length).toBeGreaterThan(150);
    const heading = (name: string) => new RegExp(`^### (abstract )?${name}(\\(\\))?$`, "m");
    expect(names.filter((name) => !heading(name).test(text))).toEqual([]);
  });
});
