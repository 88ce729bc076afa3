/** Attention: fused and in three steps against one reference; rotation and the write into the cache. */
import { expect, it } from "vitest";
import { ATTENTION_FAMILY, type AttentionKernel } from "../../src/kernels/attention.ts";
import { ATTENTION_MIX, ATTENTION_SCORES, ATTENTION_SOFTMAX, STORE_KV } from "../../src/kernels/definitions.ts";
import { rope, ropeStore } from "../../src/kernels/heads.ts";
import { rotated } from "../../src/ops/attention-reference.ts";
import { testGpu } from "../support/gpu.ts";
import { isNight } from "../support/nightly.ts";
import { gaussians, integer, relativeError, seeded } from "../support/numbers.ts";
import {
  arraysOf,
  attentionError,
  BY_DAY,
  build,
  callOf,
  canRun,
  SHAPES,
  type Shape,
  TOLERANCE,
  toleranceOf,
} from "./attention.cases.ts";
import { attentionReference } from "./attention.reference.ts";
import { compute } from "./compute.ts";
import { describeOnGrids, dispatchGroups } from "./harness.ts";

/** Maps of visible keys as rows of `keyCount` numbers, `rest` at the other keys. */
const dense = (rows: readonly Map<number, number>[], keyCount: number, rest: number) =>
  rows.flatMap((row) => Array.from({ length: keyCount }, (_, key) => row.get(key) ?? rest));

/**
 * A kernel is compiled again for each width of a head and each flag: by day `keys` and the reference get all shapes, the
 * others one of each kind.
 */
const isShown = (attention: AttentionKernel, { name }: Shape) =>
  isNight || attention === ATTENTION_FAMILY.reference || attention.name === "keys" || BY_DAY.includes(name);

/** What this adapter cannot run is not in the tables; the cross-host tests run it where it can. */
const adapter = await testGpu();

describeOnGrids("attention in one kernel", (gpu) => {
  for (const attention of [...ATTENTION_FAMILY.candidates, ATTENTION_FAMILY.reference]) {
    const shapes = SHAPES.filter((shape) => isShown(attention, shape) && canRun(adapter, attention, shape));
    it.each(shapes)(`${attention.name}: $name`, async (shape) => {
      expect(await attentionError(await gpu(), attention, shape)).toBeLessThan(toleranceOf(shape));
    });
  }
});

describeOnGrids("attention in three kernels", (gpu) => {
  it.each(SHAPES)("$name", async (shape) => {
    const test = build(shape);
    const { params, constants } = callOf(test);
    const expected = attentionReference(test);
    const rowHeads = params.rowCount * params.nHeads;
    const scores = new Float32Array(rowHeads * test.keyCount).fill(-5);
    const masked = new Float32Array([Number.NEGATIVE_INFINITY]);
    const arrays = {
      ...arraysOf(test),
      masked,
      scores,
      pattern: scores.slice(),
      z: new Float32Array(expected.z.length),
    };
    const result = await compute(await gpu(), arrays, ["scores", "pattern", "z"], (recorder, t) => {
      const { pattern, queries, keys, values, z } = t;
      const tables = { rowTable: t.rowTable, slotTable: t.slotTable, headNumbers: t.slopes };
      const elements = Math.ceil(scores.length / 64);
      for (const out of [t.scores, pattern]) {
        const buffers = { ...tables, queries, keys, masked: t.masked, scores: out };
        dispatchGroups(recorder, ATTENTION_SCORES, params, buffers, elements, { constants });
      }
      dispatchGroups(recorder, ATTENTION_SOFTMAX, params, { ...tables, x: pattern }, rowHeads, { constants });
      const mixed = Math.ceil((rowHeads * test.dHead) / 64);
      dispatchGroups(recorder, ATTENTION_MIX, params, { ...tables, pattern, values, z }, mixed, { constants });
    });
    const tolerance = toleranceOf(shape);
    expect(relativeError(result.scores, dense(expected.scores, test.keyCount, Number.NEGATIVE_INFINITY))).toBeLessThan(
      TOLERANCE,
    );
    expect(relativeError(result.pattern, dense(expected.patterns, test.keyCount, 0))).toBeLessThan(tolerance);
    expect(relativeError(result.z, expected.z)).toBeLessThan(tolerance);
  });
});

describeOnGrids("softmax of scores that were changed at masked keys", (gpu) => {
  it.each([...SHAPES.slice(0, 14), ...SHAPES.slice(-4)])("$name", async (shape) => {
    const test = build(shape);
    const { params, constants } = callOf(test);
    const expected = attentionReference(test);
    const pattern = Float32Array.from(dense(expected.scores, test.keyCount, 50));
    const result = await compute(await gpu(), { ...arraysOf(test), pattern }, ["pattern"], (recorder, t) => {
      const buffers = { rowTable: t.rowTable, slotTable: t.slotTable, headNumbers: t.slopes, x: t.pattern };
      dispatchGroups(recorder, ATTENTION_SOFTMAX, params, buffers, params.rowCount * params.nHeads, { constants });
    });
    expect(relativeError(result.pattern, dense(expected.patterns, test.keyCount, 0))).toBeLessThan(TOLERANCE);
  });
});

interface RopeCase {
  name: string;
  rows: number;
  heads: [nHeads: number, nKvHeads: number];
  dHead: number;
  rotaryDim: number;
  style: "half" | "interleaved";
  rotate: boolean;
  store: boolean;
}

const ropeCase = (name: string, changes: Partial<RopeCase> = {}): RopeCase => ({
  ...{ name, rows: 7, heads: [4, 2], dHead: 8, rotaryDim: 8, style: "half", rotate: true, store: true },
  ...changes,
});

const ROPE_CASES: RopeCase[] = [
  ropeCase("halves"),
  ropeCase("neighbours", { style: "interleaved" }),
  ropeCase("a part of the head, halves", { dHead: 20, rotaryDim: 6 }),
  ropeCase("a part of the head, neighbours", { dHead: 20, rotaryDim: 6, style: "interleaved" }),
  ropeCase("two of the dimensions", { dHead: 4, rotaryDim: 2 }),
  ropeCase("rotation alone", { store: false }),
  ropeCase("halves in fours", { dHead: 16, rotaryDim: 16, rows: 9, heads: [3, 2] }),
  ropeCase("a part of the head, halves in fours", { dHead: 24, rotaryDim: 8 }),
  ropeCase("the write alone", { rotate: false }),
  ropeCase("the write alone, many rows", { rotate: false, rows: 50, heads: [5, 3], dHead: 12 }),
  ropeCase("one row, one head", { rows: 1, heads: [1, 1], dHead: 64, rotaryDim: 64 }),
  ropeCase("multi-query, many rows", { rows: 50, heads: [5, 1], dHead: 12, rotaryDim: 12 }),
];

describeOnGrids("rotation and write into the cache", (gpu) => {
  it.each(ROPE_CASES)("$name", async ({ rows, heads: [nHeads, nKvHeads], dHead, rotaryDim, style, rotate, store }) => {
    const random = seeded(dHead + rows);
    const positions = 40;
    const slots = rows + 10;
    const rowList = Array.from({ length: rows }, (_, row) => ({
      position: integer(random, 0, positions - 1),
      slot: slots - 1 - row,
    }));
    const heads = nHeads + 2 * nKvHeads;
    const arrays = {
      rowTable: Uint32Array.from(rowList.flatMap(({ position, slot }) => [3, position, slot, 9])),
      table: gaussians(random, Math.max(4, positions * rotaryDim)),
      qkv: gaussians(random, rows * heads * dHead),
      keys: gaussians(random, slots * nKvHeads * dHead),
      values: gaussians(random, slots * nKvHeads * dHead),
    };
    const result = await compute(await gpu(), arrays, ["qkv", "keys", "values"], (recorder, tensors) => {
      const { rowTable, table: ropeTable, qkv, keys, values } = tensors;
      if (!rotate) {
        const width = nKvHeads * dHead;
        const [keyStart, rowStride] = [nHeads * dHead, heads * dHead];
        const strides = { keyStart, keyStride: rowStride, valueStart: keyStart + width, valueStride: rowStride };
        const params = { rowCount: rows, width, ...strides };
        const groups = Math.ceil((rows * width) / 4 / 64);
        dispatchGroups(recorder, STORE_KV, params, { rowTable, k: qkv, v: qkv, keys, values }, groups);
        return;
      }
      const x = { buffer: qkv, start: 0, rowStride: heads * dHead, headStride: dHead, width: dHead };
      const rotation = { rowTable, table: ropeTable, rotaryDim, style, inverse: false };
      const cache = { keys, values };
      if (store) ropeStore(recorder, { ...x, heads: nHeads }, nKvHeads, rows, rotation, cache);
      else rope(recorder, { ...x, heads: nHeads + nKvHeads }, rows, rotation, cache);
    });
    const expected = {
      qkv: Float64Array.from(arrays.qkv),
      keys: Float64Array.from(arrays.keys),
      values: Float64Array.from(arrays.values),
    };
    rowList.forEach(({ position, slot }, row) => {
      for (let head = 0; head < heads; head++) {
        const at = (row * heads + head) * dHead;
        const plain = arrays.qkv.subarray(at, at + dHead);
        const isValue = head >= nHeads + nKvHeads;
        const vector = rotate && !isValue ? rotated(plain, arrays.table, position, rotaryDim / 2, style) : plain;
        expected.qkv.set(vector, at);
        if (!store || head < nHeads) continue;
        const kvHead = isValue ? head - nHeads - nKvHeads : head - nHeads;
        (isValue ? expected.values : expected.keys).set(vector, (slot * nKvHeads + kvHead) * dHead);
      }
    });
    for (const name of ["qkv", "keys", "values"] as const)
      expect(relativeError(result[name], expected[name])).toBeLessThan(1e-6);
  });
});
