/**
 * The form of a `ModelSpec` as data: which keys, of which types, within which bounds. A small set of checks, each of
 * which accepts a value or says what it expected and where.
 */
import { ConfigError } from "../errors.ts";
import { nearestNames } from "../schema/nearest.ts";
import { describe, isObject } from "./config.ts";
import type { WeightName } from "./spec.ts";

/** Accepts `value` or throws `ConfigError` `config/spec`, naming `path`. */
export type Check = (value: unknown, path: string) => void;

function fail(path: string, value: unknown, expected: string): never {
  const found = value === undefined ? "is missing" : `is ${describe(value)}`;
  throw new ConfigError("config/spec", `${path} ${found}; it must be ${expected}.`);
}

const test =
  (accepts: (value: unknown) => boolean, expected: string): Check =>
  (value, path) => {
    if (!accepts(value)) fail(path, value, expected);
  };

const text = test((value) => typeof value === "string", "a string");
const boolean = test((value) => typeof value === "boolean", "true or false");
const finite = test((value) => Number.isFinite(value), "a finite number");
const positive = test((value) => Number.isFinite(value) && (value as number) > 0, "a positive number");
const atLeastZero = test((value) => Number.isFinite(value) && (value as number) >= 0, "a number of at least 0");
const count = test((value) => Number.isSafeInteger(value) && (value as number) > 0, "a positive whole number");
const index = test((value) => Number.isSafeInteger(value) && (value as number) >= 0, "a whole number of at least 0");
const oneOf = (...choices: string[]): Check =>
  test((value) => choices.includes(value as string), `one of ${choices.map((choice) => `"${choice}"`).join(", ")}`);

const nullable =
  (check: Check): Check =>
  (value, path) => {
    if (value !== null) check(value, path);
  };

const list =
  (check: Check): Check =>
  (value, path) => {
    if (!Array.isArray(value)) fail(path, value, "a list");
    value.forEach((entry, i) => {
      check(entry, `${path}[${i}]`);
    });
  };

/** Every key of `required`, any of `optional`, and no other. */
function object(required: Record<string, Check>, optional: Record<string, Check> = {}): Check {
  const known = { ...required, ...optional };
  return (value, path) => {
    if (!isObject(value)) fail(path, value, "an object");
    for (const key of Object.keys(value)) {
      if (Object.hasOwn(known, key)) continue;
      const [nearest] = nearestNames(key, Object.keys(known));
      throw new ConfigError(
        "config/spec",
        `${path}.${key} is not a key that exists here; the nearest is "${nearest}".`,
      );
    }
    for (const [key, check] of Object.entries(required)) check(value[key], `${path}.${key}`);
    for (const [key, check] of Object.entries(optional)) {
      if (value[key] !== undefined) check(value[key], `${path}.${key}`);
    }
  };
}

/** An object whose `kind` says which other keys it has. */
function variants(kinds: Record<string, Record<string, Check>>): Check {
  const kindCheck = oneOf(...Object.keys(kinds));
  return (value, path) => {
    if (!isObject(value)) fail(path, value, "an object");
    kindCheck(value.kind, `${path}.kind`);
    object({ kind: kindCheck, ...kinds[value.kind as string] })(value, path);
  };
}

const norm = object({ kind: oneOf("layer", "rms", "none"), eps: atLeastZero, weightOffset: finite });

const stretch = { factor: positive, originalMaxPositions: count };
const rope = object({
  theta: positive,
  rotaryDim: count,
  style: oneOf("half", "interleaved"),
  scaling: variants({
    none: {},
    linear: { factor: positive },
    dynamic: stretch,
    proportional: { factor: positive, share: positive },
    llama3: { ...stretch, lowFreqFactor: positive, highFreqFactor: positive },
    yarn: { ...stretch, betaFast: positive, betaSlow: positive, attentionFactor: positive, truncate: boolean },
  }),
});

const rows = object({ groups: count, groupSize: count, start: index, count });
const tensorSource = object({ tensor: text }, { transpose: boolean, rows, optional: boolean });

/** Every weight there is. A record, so that the compiler notices a name added to `WeightName` and not here. */
const WEIGHT_NAMES: Record<WeightName, Check> = {
  "embed.W_E": tensorSource,
  "embed.W_pos": tensorSource,
  "embed.norm.w": tensorSource,
  "embed.norm.b": tensorSource,
  "ln1.w": tensorSource,
  "ln1.b": tensorSource,
  "ln1Post.w": tensorSource,
  "ln1Post.b": tensorSource,
  "ln2.w": tensorSource,
  "ln2.b": tensorSource,
  "ln2Post.w": tensorSource,
  "ln2Post.b": tensorSource,
  "attn.W_Q": tensorSource,
  "attn.b_Q": tensorSource,
  "attn.W_K": tensorSource,
  "attn.b_K": tensorSource,
  "attn.W_V": tensorSource,
  "attn.b_V": tensorSource,
  "attn.qNorm.w": tensorSource,
  "attn.qNorm.b": tensorSource,
  "attn.kNorm.w": tensorSource,
  "attn.kNorm.b": tensorSource,
  "attn.W_O": tensorSource,
  "attn.b_O": tensorSource,
  "mlp.W_gate": tensorSource,
  "mlp.b_gate": tensorSource,
  "mlp.W_in": tensorSource,
  "mlp.b_in": tensorSource,
  "mlp.W_out": tensorSource,
  "mlp.b_out": tensorSource,
  "lnFinal.w": tensorSource,
  "lnFinal.b": tensorSource,
  "unembed.W_U": tensorSource,
  "unembed.b_U": tensorSource,
};

/** The form of a whole spec. Whether its numbers fit together is `validateSpec`'s to say. */
export const specCheck: Check = object({
  family: text,
  nLayers: count,
  dModel: count,
  nHeads: count,
  nKvHeads: count,
  dHead: count,
  dMlp: index,
  vocabSize: count,
  maxPositions: count,
  embed: object({ scale: finite, norm: boolean }),
  positions: variants({ none: {}, learned: { offset: index }, alibi: { slopes: list(finite) } }),
  norm,
  block: object({
    norms: oneOf("pre", "post", "sandwich"),
    residual: oneOf("sequential", "parallel"),
    parallelSharedNorm: boolean,
    residualScale: finite,
  }),
  attention: object(
    {
      scale: finite,
      softCap: nullable(positive),
      qkNorm: oneOf("none", "head", "perHead", "full"),
      qkNormSpec: norm,
    },
    { causal: boolean },
  ),
  mlp: object(
    {
      kind: oneOf("plain", "gated"),
      activation: oneOf("relu", "silu", "gelu", "gelu_tanh", "gelu_quick", "identity"),
    },
    { absent: boolean },
  ),
  layers: list(object({ window: nullable(count), rope: nullable(index) }, { attentionScale: finite, dMlp: count })),
  ropes: list(rope),
  unembed: object({ tied: boolean, scale: finite, softCap: nullable(positive) }),
  weights: object({}, WEIGHT_NAMES),
});
