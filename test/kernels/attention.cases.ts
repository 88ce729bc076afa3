/** Cases of attention, and one kernel compared with the plain reference; for any host. */
import type { Gpu } from "../../src/gpu/gpu.ts";
import type { AttentionKernel } from "../../src/kernels/attention.ts";
import { gaussians, relativeError, seeded } from "../support/numbers.ts";
import { type AttentionCase, attentionReference } from "./attention.reference.ts";
import { compute } from "./compute.ts";

/** Seen: 1e-7 to 1e-6. */
export const TOLERANCE = 5e-6;

/** What results may differ by: scores of 10^4 are off by 10^-3 in f32, and weights by as much. */
export const toleranceOf = ({ scale }: Shape) => (scale === 1e4 ? 1e-2 : TOLERANCE);

export interface Shape {
  name: string;
  /** Of each row: its sequence and position. Slots are dealt at random; sequences may share them. */
  rows: [sequence: number, position: number][];
  heads: [nHeads: number, nKvHeads: number];
  dHead: number;
  window?: number;
  /** In place of a window. */
  chunk?: number;
  softCap?: number;
  alibi?: boolean;
  /** With ALiBi: rounded to bfloat16, times this. */
  alibiScale?: number;
  /** Scores beside those of the keys, one a head. */
  sinks?: number[];
  /** Length of each sequence where a query sees the keys after it. */
  lengths?: number[];
  scale?: number;
  /** Elements of a row of queries after the queries themselves. */
  padding?: number;
}

const whole = (length: number, sequence = 0): [number, number][] =>
  Array.from({ length }, (_, position) => [sequence, position]);

export const SHAPES: Shape[] = [
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
  {
    name: "2500 keys, more than splits of 64",
    rows: [
      [0, 2499],
      [1, 2100],
    ],
    heads: [2, 1],
    dHead: 8,
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
  { name: "chunks of 5", rows: [...whole(13), [1, 4], [1, 5]], heads: [2, 1], dHead: 8, chunk: 5 },
  {
    name: "chunks of 300 in 1000, a soft cap",
    rows: [
      [0, 999],
      [0, 900],
      [1, 899],
      [1, 3],
    ],
    heads: [2, 2],
    dHead: 64,
    chunk: 300,
    softCap: 3,
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
  {
    name: "ALiBi rounded to bfloat16",
    rows: [...whole(12), [1, 301]],
    heads: [4, 4],
    dHead: 8,
    alibi: true,
    alibiScale: 0.35,
    softCap: 3,
  },
  { name: "sinks", rows: [...whole(12), [1, 300]], heads: [4, 2], dHead: 8, sinks: [0, 1.5, -3, 6] },
  { name: "sinks far above and below the scores", rows: whole(9), heads: [2, 2], dHead: 64, sinks: [40, -40] },
  {
    name: "sinks of 2500 keys, a soft cap and a window",
    rows: [
      [0, 2499],
      [1, 2100],
    ],
    heads: [2, 1],
    dHead: 8,
    sinks: [3, 8],
    softCap: 4,
    window: 700,
  },
  { name: "large scores", rows: [...whole(12), [1, 300]], heads: [2, 2], dHead: 8, scale: 1e4 },
  { name: "scores near zero", rows: whole(9), heads: [2, 2], dHead: 8, scale: 1e-9 },
  { name: "dHead 256", rows: [...whole(6), [1, 90]], heads: [2, 1], dHead: 256 },
  { name: "dHead 260, two slices of output", rows: [...whole(3), [1, 290]], heads: [2, 1], dHead: 260 },
  { name: "dHead 512", rows: [...whole(2), [1, 260]], heads: [1, 1], dHead: 512 },
  { name: "dHead 1024, the widest", rows: whole(3), heads: [1, 1], dHead: 1024 },
  { name: "dHead 128", rows: [...whole(21), [1, 70]], heads: [2, 1], dHead: 128 },
  { name: "many rows and heads", rows: whole(40), heads: [12, 12], dHead: 4 },
  {
    name: "both ways, two sequences of unequal length",
    rows: [...whole(5), ...whole(19, 1)],
    heads: [4, 2],
    dHead: 8,
    lengths: [5, 19],
  },
  {
    name: "both ways through a window, some rows of long sequences",
    rows: [[0, 0], [0, 7], [0, 299], [1, 3], [1, 80], [2, 0], ...whole(9, 3)],
    heads: [2, 2],
    dHead: 64,
    window: 6,
    alibi: true,
    lengths: [300, 81, 1, 9],
  },
  {
    name: "both ways, 700 keys, a soft cap",
    rows: [
      [0, 1],
      [0, 698],
      [1, 12],
    ],
    heads: [4, 1],
    dHead: 20,
    softCap: 3,
    lengths: [700, 20],
  },
  {
    name: "both ways through a window of 200 in 1000",
    rows: [
      [0, 0],
      [0, 500],
      [0, 999],
      [1, 17],
    ],
    heads: [2, 1],
    dHead: 8,
    window: 200,
    lengths: [1000, 18],
  },
];

/**
 * Shapes of attention by day: each flag alone or beside others, few keys and more than any split, heads narrower and wider
 * than a workgroup and a slice. The others differ from these in sizes.
 */
export const BY_DAY: readonly string[] = [
  "two sequences of unequal length",
  "sequences in turn",
  "700 keys",
  "2500 keys, more than splits of 64",
  "window 3",
  "window of 257 keys in 700",
  "soft cap, window, ALiBi",
  "large scores",
  "ALiBi rounded to bfloat16",
  "sinks of 2500 keys, a soft cap and a window",
  "dHead 260, two slices of output",
  "dHead 1024, the widest",
  "both ways through a window, some rows of long sequences",
  "both ways, 700 keys, a soft cap",
];

/**
 * The case's arrays, with slots in random order among unused ones, and the first two positions of all shared. In slots that
 * no row can see lies NaN: a cache may get memory that was used before.
 */
export function build(shape: Shape): AttentionCase & { keyCount: number } {
  const { rows, heads, dHead, lengths, scale = 1 / Math.sqrt(dHead), padding = 0 } = shape;
  const [nHeads, nKvHeads] = heads;
  const random = seeded(rows.length + dHead);
  const keyCount = Math.max(...(lengths ?? rows.map(([, position]) => position + 1)));
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
  lengths?.forEach((length, sequence) => {
    slotTable[(sequence + 1) * slotStride - 1] = length;
  });
  const seen = new Set(
    rows.flatMap(([sequence, position]) => [
      ...slotTable.subarray(sequence * slotStride, sequence * slotStride + (lengths?.[sequence] ?? position + 1)),
    ]),
  );
  const ofSlots = () =>
    gaussians(random, slotCount * nKvHeads * dHead).map((value, i) =>
      seen.has(Math.floor(i / (nKvHeads * dHead))) ? value : Number.NaN,
    );
  const queryStride = nHeads * dHead + padding;
  return {
    ...{ nHeads, nKvHeads, dHead, slotTable, slotStride, queryStride, scale, keyCount },
    rowTable: Uint32Array.from(rows.flatMap(([sequence, position]) => [sequence, position, 0, 0])),
    queries: gaussians(random, rows.length * queryStride),
    keys: ofSlots(),
    values: ofSlots(),
    window: shape.window ?? null,
    chunk: shape.chunk,
    lengths,
    softCap: shape.softCap ?? null,
    sinks: shape.sinks ?? null,
    alibiScale: shape.alibiScale,
    slopes: shape.alibi ? Array.from({ length: nHeads }, (_, head) => 2 ** -(head + 1)) : null,
  };
}

export function callOf(test: AttentionCase & { keyCount: number }) {
  const { nHeads, nKvHeads, dHead, queryStride, slotStride, keyCount, scale } = test;
  const rowCount = test.rowTable.length / 4;
  const params = { rowCount, nHeads, nKvHeads, dHead, queryStride, slotStride, keyCount, scale };
  return {
    params: {
      ...params,
      window: test.chunk ?? test.window ?? 0,
      softCap: test.softCap ?? 0,
      splitKeys: 0,
      gradStart: 0,
      gradStride: 0,
    },
    constants: {
      CAUSAL: test.lengths ? 0 : 1,
      CHUNKED: test.chunk === undefined ? 0 : 1,
      HAS_ALIBI: test.slopes ? 1 : 0,
      ALIBI_SCALE: test.alibiScale ?? 0,
      HAS_SINKS: test.sinks ? 1 : 0,
      HAS_SOFT_CAP: test.softCap ? 1 : 0,
    },
  };
}

export const arraysOf = ({ rowTable, slotTable, queries, keys, values, slopes, sinks }: AttentionCase) => ({
  ...{ rowTable, slotTable, queries, keys, values },
  slopes: Float32Array.from(sinks ?? slopes ?? [0]),
});

/** Whether the device can run the attention on a case. */
export function canRun(gpu: Gpu, attention: AttentionKernel, { rows, heads, dHead }: Shape): boolean {
  return attention.canRun(gpu.host, { rowCount: rows.length, nHeads: heads[0], dHead });
}

/** The relative error of an attention on a case. */
export async function attentionError(gpu: Gpu, attention: AttentionKernel, shape: Shape): Promise<number> {
  const test = build(shape);
  const expected = attentionReference(test);
  const z = new Float32Array(expected.z.length).fill(-5);
  const result = await compute(gpu, { ...arraysOf(test), z }, ["z"], (recorder, t) => {
    const { rowTable, slotTable, slopes: headNumbers, queries, keys, values } = t;
    const buffers = { rowTable, slotTable, headNumbers, queries, keys, values };
    attention.record(recorder, { ...callOf(test), buffers }, t.z);
  });
  return relativeError(result.z, expected.z);
}
