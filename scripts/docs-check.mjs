// @ts-check
/**
 * Says whether docs/api is what TypeDoc makes of the sources now. TypeDoc also fails for an export without a comment, and for a
 * link that leads nowhere (typedoc.json). The exit code is 1 if something is wrong.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const kept = join(root, "docs/api");
const made = mkdtempSync(join(tmpdir(), "superlens-docs-"));

/** @param {string} folder */
const pagesIn = (folder) =>
  new Map(
    readdirSync(folder, { recursive: true, encoding: "utf8" })
      .filter((name) => name.endsWith(".md"))
      .map((name) => [name, readFileSync(join(folder, name), "utf8")]),
  );

try {
  const typedoc = join(dirname(createRequire(import.meta.url).resolve("typedoc/package.json")), "bin/typedoc");
  const args = [typedoc, "--logLevel", "Warn", "--out", made];
  const { status } = spawnSync(process.execPath, args, { cwd: root, stdio: "inherit" }); // says what is wrong
  const old = pagesIn(kept);
  const now = status === 0 ? pagesIn(made) : old;
  const other = [...new Set([...old.keys(), ...now.keys()])].filter((name) => old.get(name) !== now.get(name)).sort();
  for (const name of other) console.error(`docs/api/${name} is not what the sources say: npm run docs:api`);
  process.exitCode = status !== 0 || other.length > 0 ? 1 : 0;
} finally {
  rmSync(made, { recursive: true });
}
