/** Norms: fused, in stages, and of queries and keys. */
import { expect, it } from "vitest";
import { QK_NORM } from "../../src/kernels/definitions.ts";
import { norm, normStages } from "../../src/kernels/norm.ts";
import type { NormSpec } from "../../src/model/spec.ts";
import { normalized, normReference } from "../../src/ops/norm-reference.ts";
import { gaussians, relativeError, seeded } from "../support/numbers.ts";
import { compute } from "./compute.ts";
import { describeOnGrids, dispatchGroups } from "./harness.ts";

/** Seen: 1e-7 to 6e-7. */
const TOLERANCE = 5e-6;

interface Case {
  name: string;
  rows: number;
  width: number;
  kind: "layer" | "rms";
  mean?: number;
  deviation?: number;
  eps?: number;
  offset?: number;
  w?: boolean;
  b?: boolean;
  accumulate?: boolean;
  tolerance?: number;
}

const CASES: Case[] = [
  { name: "layer, weight and bias", rows: 3, width: 768, kind: "layer", w: true, b: true },
  { name: "layer without weight", rows: 5, width: 65, kind: "layer" },
  { name: "layer, bias alone", rows: 2, width: 63, kind: "layer", b: true },
  { name: "layer, one element a row", rows: 4, width: 1, kind: "layer", w: true, b: true },
  { name: "layer, many rows", rows: 500, width: 3, kind: "layer", w: true },
  { name: "rms", rows: 3, width: 768, kind: "rms", w: true },
  { name: "rms, stored weight plus one", rows: 3, width: 130, kind: "rms", w: true, offset: 1 },
  { name: "rms, one row", rows: 1, width: 64, kind: "rms", w: true },
  { name: "rms, accumulate", rows: 9, width: 10, kind: "rms", w: true, accumulate: true },
  { name: "layer, accumulate with bias", rows: 9, width: 11, kind: "layer", w: true, b: true, accumulate: true },
  { name: "zero rows", rows: 3, width: 20, kind: "rms", w: true, deviation: 0 },
  { name: "equal elements", rows: 3, width: 32, kind: "layer", w: true, b: true, mean: 8, deviation: 0 },
  { name: "tiny elements, under eps", rows: 3, width: 100, kind: "rms", w: true, deviation: 1e-6, eps: 1e-5 },
  { name: "large elements", rows: 3, width: 100, kind: "layer", w: true, deviation: 1e15 },
  { name: "rms, accumulate, whole vec4", rows: 19, width: 12, kind: "rms", w: true, offset: 1, accumulate: true },
  { name: "layer, accumulate with bias, whole vec4", rows: 17, width: 20, kind: "layer", b: true, accumulate: true },
  // The f32 mean of a row is off by some 1e-4 of the spread here; E[x^2] - E[x]^2 would be off by all of it.
  { name: "mean 10^4 spreads", rows: 3, width: 777, kind: "layer", w: true, b: true, mean: 1e4, tolerance: 1e-3 },
  { name: "mean 10^4 spreads, whole vec4", rows: 3, width: 776, kind: "layer", w: true, mean: 1e4, tolerance: 1e-3 },
];

function data(test: Case) {
  const { rows, width, mean = 0, deviation = 1, eps = 1e-5, offset = 0, kind } = test;
  const random = seeded(rows + 100 * width);
  const arrays = {
    x: gaussians(random, rows * width, deviation, mean),
    w: gaussians(random, width),
    b: gaussians(random, width),
    out: gaussians(random, rows * width),
    scales: new Float32Array(rows),
    normalized: new Float32Array(rows * width),
  };
  const options = {
    kind,
    eps,
    weightOffset: offset,
    w: test.w ? arrays.w : undefined,
    b: test.b ? arrays.b : undefined,
  };
  const spec: NormSpec = { kind, eps, weightOffset: offset };
  return { arrays, options, spec };
}

const rowsOf = (x: Float32Array, width: number) =>
  Array.from({ length: x.length / width }, (_, row) => x.subarray(row * width, (row + 1) * width));

function expected(test: Case): Float64Array {
  const { arrays, options } = data(test);
  const rows = rowsOf(arrays.x, test.width).flatMap((row) => [...normReference(row, options)]);
  return Float64Array.from(rows, (value, i) => value + (test.accumulate ? (arrays.out[i] as number) : 0));
}

describeOnGrids("norm", (gpu) => {
  it.each(CASES)("$name", async (test) => {
    const { arrays, spec } = data(test);
    const { rows, width, accumulate } = test;
    const { out } = await compute(await gpu(), arrays, ["out"], (recorder, { x, w, b, out }) =>
      norm(recorder, x, rows, width, spec, { ...(test.w && { w }), ...(test.b && { b }) }, out, accumulate),
    );
    expect(relativeError(out, expected(test))).toBeLessThan(test.tolerance ?? TOLERANCE);
  });
});

describeOnGrids("norm in stages", (gpu) => {
  it.each(CASES)("$name", async (test) => {
    const { arrays, spec, options } = data(test);
    const result = await compute(await gpu(), arrays, ["scales", "normalized", "out"], (recorder, tensors) => {
      const weights = { ...(test.w && { w: tensors.w }), ...(test.b && { b: tensors.b }) };
      const stages = normStages(recorder, test.rows, test.width, spec, weights);
      stages.scale(tensors.x, tensors.scales);
      stages.normalize(tensors.x, tensors.scales, tensors.normalized);
      stages.affine(tensors.normalized, tensors.out, test.accumulate);
    });
    const rows = rowsOf(arrays.x, test.width).map((row) => normalized(row, options));
    const tolerance = test.tolerance ?? TOLERANCE;
    expect(
      relativeError(
        result.scales,
        rows.map(({ scale }) => scale),
      ),
    ).toBeLessThan(tolerance);
    expect(
      relativeError(
        result.normalized,
        rows.flatMap(({ values }) => [...values]),
      ),
    ).toBeLessThan(tolerance);
    expect(relativeError(result.out, expected(test))).toBeLessThan(tolerance);
  });
});

interface QkCase {
  name: string;
  rows: number;
  groups: number;
  width: number;
  /** Elements of a row before and after the part that is normed. */
  before: number;
  after: number;
  perGroup?: boolean;
  kind?: "layer";
  bias?: boolean;
  offset?: number;
}

const QK_CASES: QkCase[] = [
  { name: "heads of the queries", rows: 5, groups: 6, width: 8, before: 0, after: 32 },
  { name: "heads of the keys, weight plus one", rows: 3, groups: 2, width: 80, before: 480, after: 160, offset: 1 },
  { name: "all heads together", rows: 4, groups: 1, width: 96, before: 96, after: 96 },
  {
    name: "each head its own LayerNorm",
    rows: 7,
    groups: 4,
    width: 16,
    before: 0,
    after: 48,
    perGroup: true,
    kind: "layer",
  },
  { name: "with bias", rows: 1, groups: 3, width: 20, before: 4, after: 5, perGroup: true, kind: "layer", bias: true },
];

describeOnGrids("norm of queries and keys, in place", (gpu) => {
  it.each(QK_CASES)("$name", async ({ rows, groups, width, before, after, perGroup, kind, bias, offset = 0 }) => {
    const random = seeded(width);
    const stride = before + groups * width + after;
    const count = perGroup ? groups * width : width;
    const x = gaussians(random, rows * stride, 2, 1);
    const [w, b] = [gaussians(random, count), gaussians(random, count)];
    const eps = 1e-6;
    const result = await compute(await gpu(), { x, w, b }, ["x"], (recorder, tensors) => {
      const weightStride = perGroup ? width : 0;
      const params = {
        rowCount: rows,
        rowStride: stride,
        start: before,
        groups,
        width,
        weightStride,
        eps,
        weightOffset: offset,
      };
      const constants = { SUBTRACT_MEAN: kind === "layer" ? 1 : 0, HAS_BIAS: bias ? 1 : 0 };
      const buffers = { weights: tensors.w, bias: tensors.b, x: tensors.x };
      dispatchGroups(recorder, QK_NORM, params, buffers, rows * groups, { constants });
    });
    const wanted = Float64Array.from(x);
    for (let vector = 0; vector < rows * groups; vector++) {
      const group = vector % groups;
      const at = Math.floor(vector / groups) * stride + before + group * width;
      const part = (all: Float32Array) => (perGroup ? all.subarray(group * width, (group + 1) * width) : all);
      const options = {
        kind: kind ?? ("rms" as const),
        eps,
        weightOffset: offset,
        w: part(w),
        b: bias ? part(b) : undefined,
      };
      wanted.set(normReference(x.subarray(at, at + width), options), at);
    }
    expect(relativeError(result.x, wanted)).toBeLessThan(TOLERANCE);
  });
});
