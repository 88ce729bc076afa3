/** Parts of heads on the GPU, in rows that lie apart and in memory that was used before, against their references. */
import { expect, it } from "vitest";
import { packedView, type View } from "../../src/kernels/view.ts";
import { JOIN_HEADS, SPLIT_HEADS } from "../../src/ops/head-parts.ts";
import type { Lowering, ReferenceCall } from "../../src/ops/op.ts";
import { RowTable } from "../../src/ops/rows.ts";
import { testGpu } from "../support/gpu.ts";
import { gaussians, seeded } from "../support/numbers.ts";
import { compute } from "./compute.ts";

const joinReference = JOIN_HEADS.reference as NonNullable<typeof JOIN_HEADS.reference>;
const splitReference = SPLIT_HEADS.reference as NonNullable<typeof SPLIT_HEADS.reference>;

const ROWS = 37;
const rows = new RowTable(ROWS);
/** Sizes below 0 are parts that are not given. */
const partsOf = (sizes: readonly number[]) => sizes.map((size) => ({ size: Math.abs(size), isGiven: size > 0 }));

/** A view of rows with others' numbers before and behind. */
const apart = (view: View, before: number, behind: number): View => ({
  ...view,
  start: before,
  rowStride: view.rowStride + before + behind,
});

it.each<[string, number, number[]]>([
  ["two, by fours", 4, [8, 4]],
  ["zeros at the end", 3, [5, -3]],
  ["odd ones with zeros between", 2, [3, -2, 1, -1]],
  ["of one head", 1, [64, -64]],
])("joins parts: %s", async (_, heads, sizes) => {
  const random = seeded(heads);
  const parts = partsOf(sizes);
  const given = parts.filter(({ isGiven }) => isGiven).map(({ size }) => size);
  const inputs = given.map((size, index) => gaussians(random, ROWS * (index === 0 ? heads : 1) * size));
  const shapes = given.map((width, index) => ({ heads: index === 0 ? heads : 1, width }));
  const width = parts.reduce((sum, { size }) => sum + size, 0);
  const attributes = { heads, parts };
  const [expected] = joinReference({
    ...{ attributes, inputs: inputs.map((x) => Float64Array.from(x)), inputShapes: shapes },
    ...{ outputShapes: [{ heads, width }], rows },
  } as unknown as ReferenceCall<typeof attributes>) as readonly [Float64Array];
  const out = new Float32Array(ROWS * (heads * width + 7)).fill(-5);
  const named: Record<string, Float32Array> = Object.fromEntries([
    ...inputs.map((x, index) => [`x${index}`, x]),
    ["out", out],
  ]);
  const result = await compute(await testGpu(), named, ["out"], (recorder, t) => {
    const views = shapes.map((shape, index) => packedView(t[`x${index}`] as never, shape.width, shape.heads));
    const to = apart(packedView(t.out as never, width, heads), 3, 4);
    JOIN_HEADS.lower({ recorder, attributes, inputs: views, outputs: [to], rows } as unknown as Lowering<
      typeof attributes
    >);
  });
  for (let row = 0; row < ROWS; row++) {
    const own = (result.out as Float32Array).subarray(row * (heads * width + 7), (row + 1) * (heads * width + 7));
    expect([...own.subarray(3, 3 + heads * width)]).toEqual(
      [...expected.subarray(row * heads * width, (row + 1) * heads * width)].map(Math.fround),
    );
    expect([...own.subarray(0, 3), ...own.subarray(3 + heads * width)]).toEqual(new Array(7).fill(-5));
  }
});

it.each<[string, number, number[]]>([
  ["two, by fours", 4, [8, 4]],
  ["one of odd size", 3, [-2, 5, -1]],
])("splits heads into parts: %s", async (_, heads, sizes) => {
  const parts = partsOf(sizes);
  const width = parts.reduce((sum, { size }) => sum + size, 0);
  const x = gaussians(seeded(7), ROWS * (heads * width + 5));
  const packed = Float64Array.from({ length: ROWS * heads * width }, (_, i) => {
    const row = Math.floor(i / (heads * width));
    return x[row * (heads * width + 5) + 1 + (i % (heads * width))] as number;
  });
  const attributes = { parts };
  const expected = splitReference({
    ...{ attributes, inputs: [packed], inputShapes: [{ heads, width }], rows },
  } as unknown as ReferenceCall<typeof attributes>);
  const given = parts.filter(({ isGiven }) => isGiven).map(({ size }) => size);
  const outs: Record<string, Float32Array> = Object.fromEntries(
    given.map((size, i) => [`out${i}`, new Float32Array(ROWS * heads * size).fill(-5)]),
  );
  const arrays: Record<string, Float32Array> = { x, ...outs };
  const result = await compute(await testGpu(), arrays, Object.keys(outs), (recorder, t) => {
    const from = apart(packedView(t.x as never, width, heads), 1, 4);
    const to = given.map((size, i) => packedView(t[`out${i}`] as never, size, heads));
    SPLIT_HEADS.lower({ recorder, attributes, inputs: [from], outputs: to, rows } as unknown as Lowering<
      typeof attributes
    >);
  });
  expected.forEach((values, i) => {
    expect([...(result[`out${i}`] as Float32Array)]).toEqual([...values].map(Math.fround));
  });
});
