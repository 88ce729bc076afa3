/** The models of a report: their names, and those in this package, which it is made for where no model is named. */
import { existsSync } from "node:fs";
import { REPORTED_MODELS } from "../../paper/embedded.ts";
import type { AnyFigure } from "../../paper/figure.ts";
import { lastPart } from "../../paper/subjects.ts";
import { embeddedFolder } from "../package.ts";

/** Folders of the models that a report asks. */
export const reportedModels = (): string[] => REPORTED_MODELS.map((name) => `${embeddedFolder()}/${name}`);

/** Folders of the models that a figure is made for; undefined where it takes any, or trains its own. */
export function ownModels(figure: AnyFigure, quick: boolean): string[] | undefined {
  const sources = figure.models?.(embeddedFolder(), quick) ?? [];
  const folders = sources.filter((source): source is string => typeof source === "string" && existsSync(source));
  return folders.length > 0 ? folders : undefined;
}

/** What a model is called in a report: the last part of its folder or address. */
export const nameOf = (source: string): string => lastPart(source).replace(/[^\w.-]/g, "-");
