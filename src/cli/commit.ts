/** The version or commit of superlens, for numbers that are compared later. */
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { packageRoot, packageVersion } from "./package.ts";

/** The commit of the clone, with `+` when files differ from it; the version where there is no repository or no git. */
export function commitName(): string {
  const root = packageRoot();
  if (!existsSync(join(root, ".git"))) return packageVersion();
  try {
    const commit = git(root, "rev-parse", "--short", "HEAD");
    return git(root, "status", "--porcelain") === "" ? commit : `${commit}+`;
  } catch {
    return packageVersion();
  }
}

function git(root: string, ...args: string[]): string {
  return execFileSync("git", ["-C", root, ...args], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
}
