/** Attention: fused and in three steps against one reference; rotation and the write into the cache. */
import { expect, it } from "vitest";
import { ATTENTIONS, type Attention } from "../../src/model/attentions.ts";
import { ATTENTION_MIX, ATTENTION_SCORES, ATTENTION_SOFTMAX, ROPE_STORE, STORE_KV } from "../../src/model/kernels.ts";
import { gaussians, integer, relativeError, seeded } from "../support/numbers.ts";
import { type AttentionCase, attentionReference, rotated } from "./attention.reference.ts";
import { compute, describeOnGrids, dispatchGroups } from "./harness.ts";

/** Seen: 1e-7 to 1e-6. */
const TOLERANCE = 5e-6;

interface Shape {
  name: string;
  /** Of each row: its sequence and position. Slots are dealt at random; sequences may share them. */
  rows: [sequence: number, position: number][];
  heads: [nHeads: number, nKvHeads: number];
  dHead: number;
  window?: number;
  softCap?: number;
  alibi?: boolean;
  scale?: number;
  /** Elements of a row of queries after the queries themselves. */
  padding?: number;
}

const whole = (length: number, sequence = 0): [number, number][] =>
  Array.from({ length }, (_, position) => [sequence, position]);

const SHAPES: Shape[] = [
  { name: "one row, one key", rows: [[0, 0]], heads: [1, 1], dHead: 4 },
  { name: "a whole prompt", rows: whole(19), heads: [4, 4], dHead: 8, padding: 64 },
  { name: "two sequences of unequal length", rows: [...whole(5), ...whole(9, 1)], heads: [2, 2], dHead: 64 },
  {
    name: "sequences in turn",
    rows: [
      [0, 3],
      [1, 9],
      [0, 4],
      [1, 2],
      [2, 0],
      [2, 1],
      [0, 30],
      [0, 31],
      [0, 32],
      [1, 33],
    ],
    heads: [4, 2],
    dHead: 8,
  },
  { name: "grouped queries", rows: [...whole(7), [1, 3]], heads: [6, 2], dHead: 16, padding: 64 },
  { name: "multi-query", rows: whole(6), heads: [5, 1], dHead: 20 },
  { name: "dHead 80", rows: whole(9), heads: [2, 1], dHead: 80 },
  { name: "256 keys, a whole block", rows: [[0, 255]], heads: [2, 2], dHead: 8 },
  {
    name: "257 keys, one in the second block",
    rows: [
      [0, 256],
      [1, 3],
    ],
    heads: [2, 2],
    dHead: 8,
  },
  {
    name: "700 keys",
    rows: [
      [0, 699],
      [1, 300],
      [0, 12],
    ],
    heads: [4, 2],
    dHead: 64,
  },
  { name: "window 1", rows: whole(5), heads: [2, 2], dHead: 8, window: 1 },
  { name: "window 3", rows: whole(12), heads: [2, 1], dHead: 8, window: 3 },
  { name: "window longer than the prompt", rows: whole(12), heads: [2, 1], dHead: 8, window: 100 },
  {
    name: "window of 257 keys in 700",
    rows: [
      [0, 699],
      [1, 256],
      [0, 257],
      [0, 20],
    ],
    heads: [2, 2],
    dHead: 8,
    window: 257,
  },
  { name: "soft cap", rows: whole(12), heads: [2, 2], dHead: 8, softCap: 3, scale: 2 },
  { name: "soft cap of large scores", rows: whole(12), heads: [2, 2], dHead: 8, softCap: 50, scale: 1e6 },
  { name: "ALiBi", rows: [...whole(12), [1, 400]], heads: [4, 4], dHead: 8, alibi: true },
  {
    name: "soft cap, window, ALiBi",
    rows: [[1, 300], ...whole(5)],
    heads: [4, 2],
    dHead: 12,
    softCap: 2,
    window: 270,
    alibi: true,
  },
  { name: "large scores", rows: [...whole(12), [1, 300]], heads: [2, 2], dHead: 8, scale: 1e4 },
  { name: "scores near zero", rows: whole(9), heads: [2, 2], dHead: 8, scale: 1e-9 },
  { name: "dHead 256", rows: [...whole(6), [1, 90]], heads: [2, 1], dHead: 256 },
  { name: "dHead 260, two slices of output", rows: [...whole(3), [1, 290]], heads: [2, 1], dHead: 260 },
  { name: "dHead 512", rows: [...whole(2), [1, 260]], heads: [1, 1], dHead: 512 },
  { name: "dHead 1024, the widest", rows: whole(3), heads: [1, 1], dHead: 1024 },
  { name: "dHead 128", rows: [...whole(21), [1, 70]], heads: [2, 1], dHead: 128 },
  { name: "many rows and heads", rows: whole(40), heads: [12, 12], dHead: 4 },
];

/** The case's arrays, with slots in random order among unused ones, and the first two positions of all shared. */
function build(shape: Shape): AttentionCase & { keyCount: number } {
  const { rows, heads, dHead, scale = 1 / Math.sqrt(dHead), padding = 0 } = shape;
  const [nHeads, nKvHeads] = heads;
  const random = seeded(rows.length + dHead);
  const keyCount = Math.max(...rows.map(([, position]) => position)) + 1;
  const sequences = Math.max(...rows.map(([sequence]) => sequence)) + 1;
  const slotCount = sequences * keyCount + 5;
  const shuffled = Array.from({ length: slotCount }, (_, slot) => ({ slot, order: random() }));
  const slots = shuffled.sort((a, b) => a.order - b.order).map(({ slot }) => slot);
  const slotStride = keyCount + 3;
  const slotTable = new Uint32Array(sequences * slotStride);
  for (let sequence = 0; sequence < sequences; sequence++) {
    for (let key = 0; key < keyCount; key++) {
      slotTable[sequence * slotStride + key] = slots[key < 2 ? key : sequence * keyCount + key] as number;
    }
  }
  const queryStride = nHeads * dHead + padding;
  return {
    ...{ nHeads, nKvHeads, dHead, slotTable, slotStride, queryStride, scale, keyCount },
    rowTable: Uint32Array.from(rows.flatMap(([sequence, position]) => [sequence, position, 0, 0])),
    queries: gaussians(random, rows.length * queryStride),
    keys: gaussians(random, slotCount * nKvHeads * dHead),
    values: gaussians(random, slotCount * nKvHeads * dHead),
    window: shape.window ?? null,
    softCap: shape.softCap ?? null,
    slopes: shape.alibi ? Array.from({ length: nHeads }, (_, head) => 2 ** -(head + 1)) : null,
  };
}

function callOf(test: AttentionCase & { keyCount: number }) {
  const { nHeads, nKvHeads, dHead, queryStride, slotStride, keyCount, scale } = test;
  const rowCount = test.rowTable.length / 4;
  const params = { rowCount, nHeads, nKvHeads, dHead, queryStride, slotStride, keyCount, scale };
  return {
    params: { ...params, window: test.window ?? 0, softCap: test.softCap ?? 0, splitKeys: 0 },
    constants: { HAS_ALIBI: test.slopes ? 1 : 0, HAS_SOFT_CAP: test.softCap ? 1 : 0 },
  };
}

const arraysOf = ({ rowTable, slotTable, queries, keys, values, slopes }: AttentionCase) => ({
  ...{ rowTable, slotTable, queries, keys, values },
  slopes: Float32Array.from(slopes ?? [0]),
});

/** Maps of visible keys as rows of `keyCount` numbers, `rest` at the other keys. */
const dense = (rows: readonly Map<number, number>[], keyCount: number, rest: number) =>
  rows.flatMap((row) => Array.from({ length: keyCount }, (_, key) => row.get(key) ?? rest));

describeOnGrids("attention in one kernel", (gpu) => {
  const run = async (attention: Attention, shape: Shape) => {
    const test = build(shape);
    const call = callOf(test);
    const expected = attentionReference(test);
    const z = new Float32Array(expected.z.length).fill(-5);
    const result = await compute(await gpu(), { ...arraysOf(test), z }, ["z"], (recorder, t) => {
      const buffers = [t.rowTable, t.slotTable, t.slopes, t.queries, t.keys, t.values];
      attention.record(recorder, { ...call, buffers }, t.z);
    });
    // Scores of 10^4 are off by 10^-3 in f32, and weights by as much.
    expect(relativeError(result.z, expected.z)).toBeLessThan((shape.scale ?? 1) === 1e4 ? 1e-2 : TOLERANCE);
  };
  for (const attention of Object.values(ATTENTIONS)) {
    it.each(SHAPES)(`${attention.name}: $name`, (shape) => run(attention, shape));
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
      const shared = [t.rowTable, t.slotTable, t.slopes];
      const elements = Math.ceil(scores.length / 64);
      for (const out of [t.scores, t.pattern]) {
        const buffers = [...shared, t.queries, t.keys, t.masked, out];
        dispatchGroups(recorder, ATTENTION_SCORES, params, buffers, elements, { constants });
      }
      dispatchGroups(recorder, ATTENTION_SOFTMAX, params, [...shared, t.pattern], rowHeads);
      const mixed = Math.ceil((rowHeads * test.dHead) / 64);
      dispatchGroups(recorder, ATTENTION_MIX, params, [...shared, t.pattern, t.values, t.z], mixed);
    });
    const tolerance = (shape.scale ?? 1) === 1e4 ? 1e-2 : TOLERANCE;
    expect(relativeError(result.scores, dense(expected.scores, test.keyCount, Number.NEGATIVE_INFINITY))).toBeLessThan(
      TOLERANCE,
    );
    expect(relativeError(result.pattern, dense(expected.patterns, test.keyCount, 0))).toBeLessThan(tolerance);
    expect(relativeError(result.z, expected.z)).toBeLessThan(tolerance);
  });
});

describeOnGrids("softmax of scores that were changed at masked keys", (gpu) => {
  it.each(SHAPES.slice(0, 14))("$name", async (shape) => {
    const test = build(shape);
    const { params } = callOf(test);
    const expected = attentionReference(test);
    const pattern = Float32Array.from(dense(expected.scores, test.keyCount, 50));
    const result = await compute(await gpu(), { ...arraysOf(test), pattern }, ["pattern"], (recorder, t) => {
      const buffers = [t.rowTable, t.slotTable, t.slopes, t.pattern];
      dispatchGroups(recorder, ATTENTION_SOFTMAX, params, buffers, params.rowCount * params.nHeads);
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

const rope = (name: string, changes: Partial<RopeCase> = {}): RopeCase => ({
  ...{ name, rows: 7, heads: [4, 2], dHead: 8, rotaryDim: 8, style: "half", rotate: true, store: true },
  ...changes,
});

const ROPE_CASES: RopeCase[] = [
  rope("halves"),
  rope("neighbours", { style: "interleaved" }),
  rope("a part of the head, halves", { dHead: 20, rotaryDim: 6 }),
  rope("a part of the head, neighbours", { dHead: 20, rotaryDim: 6, style: "interleaved" }),
  rope("two of the dimensions", { dHead: 4, rotaryDim: 2 }),
  rope("rotation alone", { store: false }),
  rope("the write alone", { rotate: false }),
  rope("the write alone, many rows", { rotate: false, rows: 50, heads: [5, 3], dHead: 12 }),
  rope("one row, one head", { rows: 1, heads: [1, 1], dHead: 64, rotaryDim: 64 }),
  rope("multi-query, many rows", { rows: 50, heads: [5, 1], dHead: 12, rotaryDim: 12 }),
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
    const result = await compute(await gpu(), arrays, ["qkv", "keys", "values"], (recorder, t) => {
      if (!rotate) {
        const params = { rowCount: rows, nHeads, nKvHeads, dHead };
        const groups = Math.ceil((rows * nKvHeads * dHead) / 4 / 64);
        dispatchGroups(recorder, STORE_KV, params, [t.rowTable, t.qkv, t.keys, t.values], groups);
        return;
      }
      const params = { rowCount: rows, nHeads, nKvHeads, dHead, rotaryDim };
      const constants = { STORE: store ? 1 : 0, INTERLEAVED: style === "interleaved" ? 1 : 0 };
      const buffers = [t.rowTable, t.table, t.qkv, t.keys, t.values];
      dispatchGroups(recorder, ROPE_STORE, params, buffers, Math.ceil((rows * heads * dHead) / 2 / 64), { constants });
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
