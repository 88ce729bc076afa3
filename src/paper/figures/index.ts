/** The figures by name. */
import * as s from "../../schema/schema.ts";
import { PaperError } from "../errors.ts";
import type { AnyFigure } from "../figure.ts";
import { DECODE } from "./decode.ts";
import { LAMBDA } from "./lambda.ts";
import { MIXTURES } from "./mixtures.ts";
import { SCALE } from "./scale.ts";
import { SEEDS_FIGURE } from "./seeds.ts";

export const FIGURES = [MIXTURES, LAMBDA, DECODE, SCALE, SEEDS_FIGURE] as unknown as readonly AnyFigure[];

/** @throws PaperError `paper/figure` */
export function figureOf(name: string): AnyFigure {
  s.readArgument(s.text, name, "figureOf", "name");
  const figure = FIGURES.find((one) => one.name === name);
  if (figure) return figure;
  throw new PaperError(
    "paper/figure",
    `There is no figure "${name}"; figures are ${FIGURES.map((one) => one.name).join(", ")}.`,
  );
}
