/** The figures by name. */
import * as s from "../../schema/schema.ts";
import { PaperError } from "../errors.ts";
import type { AnyFigure } from "../figure.ts";
import { ABLATION } from "./ablation.ts";
import { CONVEX } from "./convex.ts";
import { COST } from "./cost.ts";
import { DECODE } from "./decode.ts";
import { HEADS } from "./heads.ts";
import { LAMBDA } from "./lambda.ts";
import { MIXTURES } from "./mixtures.ts";
import { OTHERS } from "./others.ts";
import { PURITY } from "./purity.ts";
import { SCALE } from "./scale.ts";
import { SEEDS_FIGURE } from "./seeds.ts";
import { STEER } from "./steer.ts";
import { TOP_K } from "./top-k.ts";
import { VECTORS } from "./vectors.ts";

/** In the paper's order, then what goes beyond it. */
export const FIGURES = [
  ...[MIXTURES, OTHERS, ABLATION, TOP_K, LAMBDA],
  ...[VECTORS, CONVEX, SCALE, SEEDS_FIGURE],
  ...[PURITY, HEADS, STEER, COST, DECODE],
] as unknown as readonly AnyFigure[];

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
