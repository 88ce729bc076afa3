/** A projection of a point: what `metric.project` measures, its activation at a position times a vector. */
import { HookError } from "../errors.ts";
import type { ModelSpec } from "../model/spec.ts";
import { axisSize } from "./edit.ts";
import { type Point, resolvePoint } from "./points.ts";

/** What a metric says of its projection. */
interface ProjectionFields {
  readonly at?: string | undefined;
  readonly head?: number | undefined;
  readonly reference?: Float32Array | undefined;
}

export interface Projection {
  readonly point: Point;
  /** The sizes of the point's axes behind batch and position. */
  readonly shape: readonly number[];
  /** A factor for each element of the point at one position. */
  readonly row: Float32Array;
}

/** @throws HookError `hook/no-such-point`, `hook/metric`, `hook/head-range` */
export function projectionOf(spec: ModelSpec, { at, head, reference }: ProjectionFields): Projection {
  const fail = (message: string) => new HookError("hook/metric", `Metric project: ${message}`);
  if (at === undefined || reference === undefined)
    throw fail("it needs a point and a vector: metric.project(at, vector).");
  const point = resolvePoint(spec, at);
  const { axes } = point.kind;
  if (axes.includes("key"))
    throw fail(`${at} has an entry for each key, not a vector for each position. Measure queries, keys, values or z.`);
  if (at === "logits") throw fail("for the logits, give metric.weighted(vector).");
  const shape = axes.slice(2).map((axis) => axisSize(axis, { spec, lengths: [1] }, point));
  const size = shape.reduce((product, each) => product * each, 1);
  const heads = shape.length > 1 ? (shape[0] as number) : 0;
  if (head !== undefined && head >= heads)
    throw new HookError(
      "hook/head-range",
      heads === 0 ? `${at} has no heads. Leave head out.` : `There is no head ${head}; they go from 0 to ${heads - 1}.`,
    );
  const width = head === undefined ? size : size / heads;
  if (reference.length !== width)
    throw fail(
      `its vector has ${reference.length} numbers; ${at} has [${shape.join(", ")}] at a position, so it takes ${width}${heads > 0 && head === undefined ? ", or a head" : ""}.`,
    );
  const row = new Float32Array(size);
  row.set(reference, (head ?? 0) * width);
  return { point, shape, row };
}
