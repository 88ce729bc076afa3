/** The small trained models in this package, which the figures are made for where no model is named. */
import { existsSync, readdirSync } from "node:fs";
import { basename, join } from "node:path";
import { embeddedFolder } from "../package.ts";

/** Folders of models that have a vocabulary of words, in order of their names. */
export function embeddedModels(): string[] {
  const folder = embeddedFolder();
  if (!existsSync(folder)) return [];
  const names = readdirSync(folder, { recursive: true, encoding: "utf8" });
  return names
    .filter((name) => basename(name) === "vocab.json")
    .map((name) => join(folder, name, ".."))
    .sort();
}

/** What a model is called in a report: the last part of its folder or address. */
export const nameOf = (source: string): string =>
  (source.split(/[\\/]/).filter(Boolean).at(-1) as string).replace(/[^\w.-]/g, "-");
