/** This package on disk: its root and its version, from the sources and from the bundle alike. */
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

/** The folder with package.json, above this file: `src/cli/` in the sources, `dist/` in the bundle. */
export function packageRoot(): string {
  let folder = new URL(".", import.meta.url);
  while (!existsSync(new URL("package.json", folder))) folder = new URL("..", folder);
  return fileURLToPath(folder);
}

/** The folder of the models that ship with the package. */
export const embeddedFolder = (): string => `${packageRoot()}weights`;

export function packageVersion(): string {
  const { version } = JSON.parse(readFileSync(`${packageRoot()}/package.json`, "utf8")) as { version: string };
  return version;
}
