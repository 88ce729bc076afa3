/** Every kind of op that has a vector-Jacobian product, with attributes of each sort, for tests of one op. */

import type { RoutingSpec } from "../../src/kernels/routing.ts";
import { ropeTable } from "../../src/model/rope.ts";
import { ACTIVATION_NAMES } from "../../src/ops/activations.ts";
import { ADD } from "../../src/ops/add.ts";
import { ATTENTION, MIX, SCORES, SOFTMAX } from "../../src/ops/attention.ts";
import type { AttentionAttributes } from "../../src/ops/attention-call.ts";
import { CLAMP } from "../../src/ops/clamp.ts";
import { COPY } from "../../src/ops/copy.ts";
import { DECODE, GATED_RELU, JUMP_RELU, RESHAPE, TOP_K } from "../../src/ops/dictionary.ts";
import { EDIT } from "../../src/ops/edit.ts";
import type { EditCall } from "../../src/ops/edit-call.ts";
import { ACTIVATION, SCALE, SOFT_CAP } from "../../src/ops/elementwise.ts";
import { EMBED } from "../../src/ops/embed.ts";
import { EXPERT_MATMUL } from "../../src/ops/experts.ts";
import { GATED } from "../../src/ops/gated.ts";
import { HEAD_PROJECTION } from "../../src/ops/head-inputs.ts";
import { JOIN_HEADS, SPLIT_HEADS } from "../../src/ops/head-parts.ts";
import { HEAD_RESULTS, MATMUL } from "../../src/ops/matmul.ts";
import { MULTIPLY } from "../../src/ops/multiply.ts";
import { AFFINE, NORM, NORM_SCALE, NORMALIZE } from "../../src/ops/norm.ts";
import { PICK_HEAD } from "../../src/ops/pick-head.ts";
import { POSITION_SCALE } from "../../src/ops/position-scale.ts";
import { QK_NORM } from "../../src/ops/qk-norm.ts";
import { ROPE } from "../../src/ops/rope.ts";
import { ROUTE } from "../../src/ops/route.ts";
import { SCALE_BY } from "../../src/ops/scale-by.ts";
import { SELECT } from "../../src/ops/select.ts";
import { ROW_STATISTICS, STANDARDIZE, UNSTANDARDIZE } from "../../src/ops/standardize.ts";
import { STORE } from "../../src/ops/store.ts";
import { REPEAT_HEADS, SUM_HEADS } from "../../src/ops/sum-heads.ts";
import { WEIGH } from "../../src/ops/weigh.ts";
import { XIELU } from "../../src/ops/xielu.ts";
import type { OneOp, Place } from "./one-op.ts";

type Case = Omit<OneOp, "kind"> & { readonly kind: { readonly name: string } };

/** Rows that are kept, where some are. */
const KEPT = [1, 3, 4];
const row = (width: number, heads = 1) => ({ heads, width });

const NORMS = [
  { kind: "layer", eps: 1e-5, weightOffset: 0 },
  { kind: "rms", eps: 1e-6, weightOffset: 0 },
  { kind: "rms", eps: 1e-2, weightOffset: 1 },
] as const;
const nameOf = ({ kind, weightOffset }: (typeof NORMS)[number]) => `${kind}${weightOffset ? ", weight + 1" : ""}`;

const norms = NORMS.flatMap((spec): Case[] => {
  const attributes = { spec, weights: { name: "norm" } };
  const weights = { "norm.w": [12], ...(spec.kind === "layer" && { "norm.b": [12] }) };
  const what = nameOf(spec);
  return [
    { what, kind: NORM_SCALE, attributes, inputs: [row(12)] },
    {
      what,
      kind: NORMALIZE,
      attributes,
      inputs: [row(12), row(1)],
      // A divisor away from zero.
      prepare: (input, value) => (input === 1 ? 1.5 + Math.abs(value) : value),
    },
    { what, kind: AFFINE, attributes, inputs: [row(12)], weights },
    { what: `${what}, without weights`, kind: AFFINE, attributes, inputs: [row(12)] },
    { what, kind: NORM, attributes: { ...attributes, accumulate: false }, inputs: [row(12)], weights },
    { what: `${what}, of 3 heads`, kind: NORM_SCALE, attributes, inputs: [row(12, 3)] },
    {
      what: `${what}, of 3 heads`,
      kind: NORMALIZE,
      attributes,
      inputs: [row(12, 3), row(1, 3)],
      prepare: (input, value) => (input === 1 ? 1.5 + Math.abs(value) : value),
    },
    { what: `${what}, of 3 heads`, kind: AFFINE, attributes, inputs: [row(12, 3)], weights },
    {
      what: `${what}, of 3 heads`,
      kind: NORM,
      attributes: { ...attributes, accumulate: false },
      inputs: [row(12, 3)],
      weights,
    },
    {
      what: `${what}, without weights, of 7`,
      kind: NORM,
      attributes: { ...attributes, accumulate: false },
      inputs: [row(7)],
    },
    {
      what: `${what}, of 70`,
      kind: NORM,
      attributes: { ...attributes, accumulate: false },
      inputs: [row(70)],
      weights: { "norm.w": [70] },
    },
    {
      what: `${what}, added to a residual`,
      kind: NORM,
      attributes: { ...attributes, accumulate: true },
      inputs: [row(12), row(12)],
      weights,
    },
    ...(["head", "perHead", "full"] as const).map(
      (over): Case => ({
        what: `${what}, ${over}`,
        kind: QK_NORM,
        attributes: { ...attributes, over },
        inputs: [row(8, 3)],
        weights: {
          "norm.w": [over === "head" ? 8 : 24],
          ...(spec.kind === "layer" && { "norm.b": [over === "head" ? 8 : 24] }),
        },
      }),
    ),
  ];
});

type AttentionCase = Partial<AttentionAttributes> & { readonly slopes?: readonly number[] };

const ATTENTIONS: Record<string, AttentionCase> = {
  "one key-value head a head": { nKvHeads: 4 },
  "grouped heads": {},
  "one key-value head for all": { nKvHeads: 1 },
  "a window": { window: 2 },
  "chunks of 2": { chunk: 2 },
  "chunks of 3, a soft cap and sinks": { chunk: 3, softCap: 1.5, sinks: { name: "sinks" } },
  "both ways": { causal: false },
  "both ways in a window": { causal: false, window: 2 },
  "a soft cap": { softCap: 1.5 },
  ALiBi: { alibi: true, slopes: [0.5, 0.25, 0.125, 0.0625] },
  "ALiBi rounded to bfloat16": { alibi: true, slopes: [0.3, 0.2, 0.1, 0.07], alibiScale: 0.4, softCap: 1.5 },
  sinks: { sinks: { name: "sinks" } },
  "sinks, both ways in a window, a soft cap": { sinks: { name: "sinks" }, softCap: 1.5, causal: false, window: 2 },
  "a soft cap, ALiBi and a window": { alibi: true, slopes: [0.5, 0.25, 0.125, 0.0625], softCap: 0.8, window: 3 },
};

function attentionCases([what, { slopes, ...changes }]: [string, AttentionCase]): Case[] {
  const attributes: AttentionAttributes = {
    layer: 0,
    nHeads: 4,
    nKvHeads: 2,
    dHead: 8,
    scale: 0.3,
    softCap: null,
    window: null,
    causal: true,
    alibi: false,
    ...changes,
  };
  const { nHeads, nKvHeads, dHead, causal, window, chunk } = attributes;
  const sees = (position: number, key: number, length: number) =>
    key < length &&
    (!causal || key <= position) &&
    (window === null || Math.abs(position - key) < window) &&
    (chunk === undefined || Math.floor(position / chunk) === Math.floor(key / chunk));
  const hidden =
    (as: number): NonNullable<Case["prepare"]> =>
    (_input, value, { position, length, at }) =>
      sees(position, at, length) ? value : as;
  const [q, kv, keys] = [row(dHead, nHeads), row(dHead, nKvHeads), { heads: nHeads, width: "keys" as const }];
  const ofScores: NonNullable<Case["prepare"]> = (input, value, place) =>
    input < 0 ? hidden(0)(input, value, place) : value;
  const weights = changes.sinks && { weights: { sinks: [nHeads] } };
  const each = { attributes, ...(slopes && { slopes }) };
  const narrow = { rows: "output" as const };
  return [
    { ...each, what, kind: SCORES, inputs: [q, kv], cached: { k: 1 }, prepare: ofScores },
    {
      ...each,
      what: `${what}, some rows`,
      kind: SCORES,
      inputs: [{ ...q, ...narrow }, kv],
      cached: { k: 1 },
      prepare: ofScores,
      outputRows: KEPT,
    },
    {
      ...each,
      ...weights,
      what,
      kind: SOFTMAX,
      inputs: [keys],
      prepare: (input, value, place) => (input < 0 ? value : hidden(Number.NEGATIVE_INFINITY)(input, value, place)),
    },
    {
      ...each,
      what,
      kind: MIX,
      inputs: [keys, kv],
      cached: { v: 1 },
      prepare: (input, value, place) => (input === 0 ? hidden(0)(input, value, place) : value),
    },
    { ...each, ...weights, what, kind: ATTENTION, inputs: [q, kv, kv], cached: { k: 1, v: 2 } },
    {
      ...each,
      ...weights,
      what: `${what}, some rows`,
      kind: ATTENTION,
      inputs: [{ ...q, ...narrow }, kv, kv],
      cached: { k: 1, v: 2 },
      outputRows: KEPT,
    },
  ];
}

const ROPES = [8, 4].flatMap((rotaryDim) => (["half", "interleaved"] as const).map((style) => ({ rotaryDim, style })));

/** [position, pair, (cos, sin)] for 64 positions; scaled, as yarn's tables are. */
function tableOf(rotaryDim: number, style: "half" | "interleaved"): Float32Array {
  const { cos, sin } = ropeTable({ theta: 100, rotaryDim, style, scaling: { kind: "none" } }, 64);
  return Float32Array.from({ length: 2 * cos.length }, (_, i) => 1.2 * ((i % 2 ? sin : cos)[i >> 1] as number));
}

const ropes = ROPES.map(
  ({ rotaryDim, style }): Case => ({
    what: `${style}, ${rotaryDim} of 8`,
    kind: ROPE,
    attributes: { layer: 0, rope: 0, rotaryDim, style },
    inputs: [row(8, 3)],
    ropeTable: tableOf(rotaryDim, style),
  }),
);

const weight = { name: "W" };
const bias = { name: "b" };
const matmul = (
  what: string,
  width: number,
  parts: readonly number[],
  more: Partial<Case> = {},
  attributes: object = {},
): Case => {
  const outWidth = parts.reduce((sum, size) => sum + size, 0);
  return {
    what,
    kind: MATMUL,
    attributes: { weight, bias, parts: parts.map((size) => row(size)), ...attributes },
    inputs: [row(width)],
    weights: { W: [outWidth, width], b: [outWidth] },
    ...more,
  };
};

const partsOf = (...sizes: readonly number[]) => ({
  parts: sizes.map((size) => ({ size: Math.abs(size), isGiven: size > 0 })),
});

/** Sizes below 0 are parts that are not given. */
const headParts: Case[] = [
  { what: "into two", kind: SPLIT_HEADS, attributes: partsOf(4, 8), inputs: [row(12, 3)] },
  { what: "of odd sizes, without the second", kind: SPLIT_HEADS, attributes: partsOf(5, -2, 3), inputs: [row(10, 2)] },
  { what: "without the zeros at the end", kind: SPLIT_HEADS, attributes: partsOf(8, -4), inputs: [row(12, 4)] },
  {
    what: "with a part that all share",
    kind: JOIN_HEADS,
    attributes: { heads: 3, ...partsOf(8, 4) },
    inputs: [row(8, 3), row(4)],
  },
  {
    what: "of odd sizes with zeros between and at the end",
    kind: JOIN_HEADS,
    attributes: { heads: 2, ...partsOf(5, -2, 3, -1) },
    inputs: [row(5), row(3, 2)],
  },
  { what: "widened", kind: JOIN_HEADS, attributes: { heads: 1, ...partsOf(7, -5) }, inputs: [row(7)] },
];

const projections: Case[] = [
  matmul("12 to 8", 12, [8]),
  matmul("5 to 7", 5, [7]),
  matmul("70 to 33", 70, [33]),
  matmul("12 to queries, keys and values", 12, [16, 8, 8]),
  matmul("6 to parts of 5, 3 and 3", 6, [5, 3, 3]),
  matmul("heads to 12, without a bias", 24, [12], { inputs: [row(8, 3)], weights: { W: [12, 24] } }),
  {
    what: "3 heads",
    kind: HEAD_RESULTS,
    attributes: { weight, dModel: 12 },
    inputs: [row(8, 3)],
    weights: { W: [12, 24] },
  },
  {
    what: "3 heads to 10",
    kind: HEAD_RESULTS,
    attributes: { weight, dModel: 10 },
    inputs: [row(4, 3)],
    weights: { W: [10, 12] },
  },
  ...[0, 1, 2].map(
    (part): Case => ({
      what: `part ${part} of 3`,
      kind: HEAD_PROJECTION,
      attributes: { weight, bias, parts: [row(8, 4), row(8, 2), row(8, 2)], part },
      inputs: [row(12, part === 0 ? 4 : 2)],
      weights: { W: [64, 12], b: [64] },
    }),
  ),
  {
    what: "one head of 4, of 70, without a bias",
    kind: HEAD_PROJECTION,
    attributes: { weight, bias, parts: [row(4, 3), row(4), row(4)], part: 2 },
    inputs: [row(70)],
    weights: { W: [20, 70] },
  },
  ...headParts,
  { what: "3 times", kind: REPEAT_HEADS, attributes: { heads: 3 }, inputs: [row(12)] },
  { what: "once", kind: REPEAT_HEADS, attributes: { heads: 1 }, inputs: [row(7)] },
  { what: "with a bias", kind: SUM_HEADS, attributes: { bias }, inputs: [row(12, 3)], weights: { b: [12] } },
  { what: "of 7, without", kind: SUM_HEADS, attributes: { bias }, inputs: [row(7, 2)] },
];

const table = { table: { name: "E" }, width: 12, offset: 0, scale: 1 } as const;
const tables: Case[] = [
  { what: "of tokens", kind: EMBED, attributes: { ...table, by: "token" }, inputs: [], weights: { E: [6, 12] } },
  {
    what: "of tokens, scaled, of 7",
    kind: EMBED,
    attributes: { ...table, by: "token", width: 7, scale: 3.5 },
    inputs: [],
    weights: { E: [6, 7] },
  },
  {
    what: "of positions from 2 on",
    kind: EMBED,
    attributes: { ...table, by: "position", offset: 2 },
    inputs: [],
    weights: { E: [45, 12] },
  },
  {
    what: "of tokens and positions",
    kind: EMBED,
    attributes: { ...table, by: "token", positions: { table: { name: "P" }, offset: 2 } },
    inputs: [],
    weights: { E: [6, 12], P: [45, 12] },
  },
];

const plain: Case[] = [
  ...ACTIVATION_NAMES.map(
    (activation): Case => ({
      what: activation,
      kind: ACTIVATION,
      attributes: { activation },
      inputs: [row(13)],
      // relu's kink is at 0.
      prepare: (_, value) => 2 * value + Math.sign(value) * 1e-3,
    }),
  ),
  { what: "by 0.3", kind: SCALE, attributes: { scale: 0.3 }, inputs: [row(13)] },
  {
    ...{ what: "alphas of its own", kind: XIELU, inputs: [row(13)] },
    attributes: { alphas: { name: "alphas" }, constants: { name: "constants" } },
    weights: { alphas: [2], constants: [2] },
    constants: ["constants"],
    // Away from its kinks at 0 and eps, on both of their sides.
    prepare: (_, value) => value + Math.sign(value) * 0.05,
  },
  { what: "the second of 3", kind: PICK_HEAD, attributes: { head: 1 }, inputs: [row(8, 3)] },
  { what: "the only one", kind: PICK_HEAD, attributes: { head: 0 }, inputs: [row(7)] },
  {
    ...{ what: "a number", kind: SCALE_BY, attributes: { weight: { name: "s" } }, inputs: [row(7, 2)] },
    weights: { s: [1] },
    constants: ["s"],
  },
  { what: "at 0.8", kind: CLAMP, attributes: { least: -0.8, most: 0.8 }, inputs: [row(8, 3)] },
  {
    what: "from position 2 on",
    kind: POSITION_SCALE,
    attributes: { factor: 0.3, span: 2, shift: 1 },
    inputs: [row(8, 3)],
  },
  { what: "at 1.5", kind: SOFT_CAP, attributes: { softCap: 1.5 }, inputs: [row(13)] },
  { what: "two", kind: MULTIPLY, attributes: {}, inputs: [row(13), row(13)] },
  ...(["silu", "gelu"] as const).map(
    (activation): Case => ({ what: activation, kind: GATED, attributes: { activation }, inputs: [row(13), row(13)] }),
  ),
  { what: "two", kind: ADD, attributes: { scale: 1 }, inputs: [row(13), row(13)] },
  { what: "a part of another", kind: ADD, attributes: { scale: -0.4 }, inputs: [row(13), row(13)] },
  { what: "heads", kind: COPY, attributes: {}, inputs: [row(8, 3)] },
  { what: "keys and values", kind: STORE, attributes: { layer: 0 }, inputs: [row(8, 2), row(8, 2)] },
  ...(["output", "picked"] as const).map(
    (rows): Case => ({ what: rows, kind: SELECT, attributes: { rows }, inputs: [row(5, 2)], rows, outputRows: KEPT }),
  ),
];

/** Away from the places where features switch on and off. */
const awayFrom = (value: number) => 2 * value + Math.sign(value) * 1e-2;
const ofDictionaries: Case[] = [
  {
    what: "thresholds",
    kind: JUMP_RELU,
    attributes: { threshold: { name: "t" } },
    inputs: [row(13)],
    weights: { t: [13] },
    prepare: (_, value) => awayFrom(awayFrom(value)),
  },
  {
    what: "gates",
    kind: GATED_RELU,
    attributes: {},
    inputs: [row(13), row(13)],
    prepare: (_, value) => awayFrom(value),
  },
  ...[1, 4, 13].map((k): Case => ({ what: `${k}`, kind: TOP_K, attributes: { k }, inputs: [row(13)] })),
  {
    what: "to 7",
    kind: DECODE,
    attributes: { weight: { name: "W" }, width: 7 },
    inputs: [row(13)],
    weights: { W: [13, 7] },
  },
  { what: "heads as one", kind: RESHAPE, attributes: row(24), inputs: [row(8, 3)] },
  { what: "one as heads", kind: RESHAPE, attributes: row(8, 3), inputs: [row(24)] },
  ...[true, false].flatMap((isCentred): Case[] => [
    { what: isCentred ? "centred" : "squares", kind: ROW_STATISTICS, attributes: { isCentred }, inputs: [row(13)] },
  ]),
  ...[
    { kind: STANDARDIZE, attributes: { eps: 0.1 } },
    { kind: UNSTANDARDIZE, attributes: {} },
  ].map(
    (each): Case => ({
      what: "rows",
      ...each,
      inputs: [row(13), row(2)],
      prepare: (input, value) => (input === 1 ? 1.5 + Math.abs(value) : value),
    }),
  ),
];

/** An edit of some vectors of [row, 2, 6]; where a pass has no such row, there is nothing to change. */
const edit = (op: EditCall["op"], dims?: readonly number[]): EditCall => ({
  ...{ at: "x", op, dims, expression: undefined, width: 6, byCoordinate: false },
  ...{ valueStride: 1, values: Float32Array.of(0.5, -1.25, 2, 0.75, -0.5, 1.5, 3, -2) },
  targets: [
    { sequence: 0, position: 0, head: 1, valueStart: 0, firstDim: 0, endDim: 6 },
    { sequence: 0, position: 3, head: 0, valueStart: 1, firstDim: 1, endDim: 5 },
    { sequence: 2, position: 1, head: 1, valueStart: 2, firstDim: 0, endDim: 6 },
  ].map((target) => ({ ...target, row: target.sequence, alpha: 0.25 })),
});
const edits = (["set", "add", "scale", "zero", "lerp", "project_out"] as const).flatMap((op): Case[] => {
  const shared = { kind: EDIT, attributes: { index: 0 }, inputs: [row(6, 2)] };
  return [
    { what: op, ...shared, edit: edit(op) },
    { what: `${op}, some dimensions`, ...shared, edit: edit(op, [4, 0, 3]) },
    { what: `${op}, at every head`, ...shared, attributes: { index: 0, everyHead: true }, edit: edit(op) },
  ];
});

/** One routing of each sort. */
const ROUTINGS: Record<string, RoutingSpec> = {
  softmax: { scores: "softmax", scale: 1 },
  "softmax, normed": { scores: "softmax", normalize: { plus: 0, atLeast: 0 }, scale: 1 },
  "softmax, normed by a floor": { scores: "softmax", normalize: { plus: 0, atLeast: 2 }, scale: 1 },
  "sigmoid, a bias, groups": {
    scores: "sigmoid",
    choiceBias: true,
    groups: { count: 3, chosen: 2, by: "topTwo" },
    normalize: { plus: 1e-20, atLeast: 0 },
    scale: 2.5,
  },
  "softmax, groups": { scores: "softmax", groups: { count: 3, chosen: 1, by: "max" }, scale: 16 },
  sparsemixer: { scores: "sparsemixer", tolerance: 0.4, scale: 1 },
};

/** Three slots of four experts; an expert may come twice. */
const expertsOf =
  (indices: number) =>
  (input: number, value: number, { row, at }: Place) =>
    input === indices ? (row * 3 + at * (1 + (row % 2))) % 4 : value;

const experts: Case[] = [
  ...Object.entries(ROUTINGS).map(
    ([what, routing]): Case => ({
      ...{ what, kind: ROUTE, inputs: [row(6)] },
      attributes: { routing, chosen: 2, ...(routing.choiceBias && { bias: { name: "bias" } }) },
      ...(routing.choiceBias && { weights: { bias: [6] } }),
    }),
  ),
  ...[1, 3].map(
    (heads): Case => ({
      what: heads === 1 ? "all slots read the same" : "each slot reads its own",
      kind: EXPERT_MATMUL,
      attributes: { weight: { name: "W" }, bias: { name: "b" }, experts: 4, width: 6 },
      inputs: [row(5, heads), row(3)],
      weights: { W: [24, 5], b: [24] },
      prepare: expertsOf(1),
    }),
  ),
  ...[1, 3].map(
    (heads): Case => ({ what: `${heads} vectors`, kind: WEIGH, attributes: {}, inputs: [row(5, heads), row(3)] }),
  ),
  {
    ...{ what: "both sides", kind: CLAMP, attributes: { least: -0.7, most: 0.7, plus: 1 }, inputs: [row(13)] },
    prepare: (_, value) => (Math.abs(Math.abs(value) - 0.7) < 1e-3 ? 0 : value),
  },
  {
    ...{ what: "above", kind: CLAMP, attributes: { most: 0.7, plus: 0 }, inputs: [row(6, 2)] },
    prepare: (_, value) => (Math.abs(value - 0.7) < 1e-3 ? 0 : value),
  },
];

export const CASES = [
  ...norms,
  ...Object.entries(ATTENTIONS).flatMap(attentionCases),
  ...ropes,
  ...projections,
  ...tables,
  ...plain,
  ...experts,
  ...ofDictionaries,
  ...edits,
] as unknown as readonly OneOp[];

/** Attention of heads that take other tiles, or none: too wide for finite differences of each input. */
export const WIDE_ATTENTIONS = [
  ...[20, 64, 72, 136, 260].map((dHead): [string, AttentionCase] => [`heads of ${dHead}`, { dHead, window: 12 }]),
  ...[20, 64, 260].map((dHead): [string, AttentionCase] => [
    `heads of ${dHead}, sinks`,
    { dHead, sinks: { name: "sinks" } },
  ]),
  ["heads of 20, a soft cap and ALiBi", { dHead: 20, ...ATTENTIONS["a soft cap, ALiBi and a window"] }] as const,
].flatMap(([what, attributes]) =>
  attentionCases([what, { ...attributes, scale: (attributes.dHead as number) ** -0.5 }]).filter(
    ({ kind, outputRows }) => kind === ATTENTION && !outputRows,
  ),
) as unknown as readonly OneOp[];
