/** The figures by name. */
import { PaperError } from "../errors.ts";
import type { Figure } from "../figure.ts";
import { LAMBDA } from "./lambda.ts";
import { MIXTURES } from "./mixtures.ts";
import { VECTORS } from "./vectors.ts";

export const FIGURES = [MIXTURES, LAMBDA, VECTORS] as unknown as readonly Figure[];

/** @throws PaperError `paper/figure` */
export function figureOf(name: string): Figure {
  const figure = FIGURES.find((one) => one.name === name);
  if (figure) return figure;
  throw new PaperError(
    "paper/figure",
    `There is no figure "${name}"; figures are ${FIGURES.map((one) => one.name).join(", ")}.`,
  );
}
