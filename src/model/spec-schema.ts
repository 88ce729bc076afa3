/** The form of a `ModelSpec` as data: which keys, of which types, within which bounds. */
import { ConfigError } from "../errors.ts";
import { ACTIVATION_NAMES } from "../ops/activations.ts";
import * as s from "../schema/schema.ts";
import { WEIGHT_NAMES } from "./weights/table.ts";

const { finite, positive, flag, nullable, oneOf, variants } = s;
const atLeastZero = s.notNegative;
const count = s.wholeFrom(1);
const index = s.wholeFrom(0);

/** Of records without a type of their own: the spec's interface is checked by what is made of it. */
const object = (needed: Record<string, s.Schema>, optional: Record<string, s.Schema> = {}) =>
  s.wholeObject<Record<string, unknown>>("", needed, optional);

const list = (schema: s.Schema) => s.list("them", schema);

const norm = object({ kind: oneOf("layer", "rms", "none"), eps: atLeastZero, weightOffset: finite }, { affine: flag });

const stretch = { factor: positive, originalMaxPositions: count };
const rope = object(
  {
    theta: positive,
    rotaryDim: count,
    style: oneOf("half", "interleaved"),
    scaling: variants({
      none: {},
      linear: { factor: positive },
      dynamic: stretch,
      proportional: { factor: positive, share: positive },
      llama3: { ...stretch, lowFreqFactor: positive, highFreqFactor: positive },
      yarn: { ...stretch, betaFast: positive, betaSlow: positive, attentionFactor: positive, truncate: flag },
      longrope: {
        ...{ shortFactors: list(positive), longFactors: list(positive) },
        ...{ originalMaxPositions: count, attentionFactor: positive },
      },
    }),
  },
  { reversed: flag },
);

const transform = object({ activation: oneOf(...ACTIVATION_NAMES) });
const queryScale = object({ factor: finite, span: positive, shift: index });
const layer = object(
  { window: nullable(count), rope: nullable(index) },
  {
    ...{
      attentionScale: finite,
      attentionNorm: flag,
      chunk: count,
      dMlp: count,
      dense: flag,
      qkNorm: flag,
      queryScale,
    },
    ...{ dHead: count, nKvHeads: count, keysFrom: index, valuesFromKeys: flag },
  },
);

const perLayer = object({
  ...{ width: count, vocabSize: count, tableScale: finite, projectionScale: finite, scale: finite },
  activation: oneOf(...ACTIVATION_NAMES),
});

const rows = object({ groups: count, groupSize: count, start: index, count });
const tensorSource = object({ tensor: s.text }, { transpose: flag, rows, optional: flag });

const groups = object({ count, chosen: count, by: oneOf("max", "topTwo") });
const routing = object(
  { scores: oneOf("softmax", "sigmoid", "sparsemixer"), scale: finite },
  {
    tolerance: atLeastZero,
    choiceBias: flag,
    groups,
    normalize: object({ plus: atLeastZero, atLeast: atLeastZero }),
  },
);
const experts = object(
  { count, perToken: count, dExpert: count, routing },
  {
    weighsInput: flag,
    clamp: object({ limit: positive, plus: finite }),
    shared: object({ dMlp: count, gate: flag }),
  },
);

const latent = object({ dKv: count, dRope: count, norm }, { dQ: count });

/** The form of a whole spec. Whether its numbers fit together is `validateSpec`'s to say. */
const SPEC = object(
  {
    family: s.text,
    nLayers: count,
    dModel: count,
    nHeads: count,
    nKvHeads: count,
    dHead: count,
    dMlp: index,
    vocabSize: count,
    maxPositions: count,
    embed: object({ scale: finite, norm: flag }, { width: count, perLayer }),
    positions: variants({
      none: {},
      learned: { offset: index },
      sinusoidal: { offset: index },
      alibi: { slopes: list(finite), roundedScale: s.optional(positive) },
    }),
    norm,
    block: object(
      {
        norms: oneOf("pre", "post", "sandwich", "added"),
        residual: oneOf("sequential", "parallel"),
        parallelSharedNorm: flag,
        residualScale: finite,
      },
      { normedResidual: flag, scalar: flag },
    ),
    attention: object(
      {
        scale: finite,
        softCap: nullable(positive),
        qkNorm: oneOf("none", "head", "perHead", "full"),
        qkNormSpec: norm,
      },
      { causal: flag, sinks: flag, qkNormAfterRope: flag, vNorm: norm, clamp: positive, latent },
    ),
    mlp: object(
      {
        kind: oneOf("plain", "gated"),
        activation: oneOf(...ACTIVATION_NAMES, "xielu"),
      },
      { absent: flag, experts },
    ),
    layers: list(layer),
    ropes: list(rope),
    unembed: object({ tied: flag, scale: finite, softCap: nullable(positive) }, { norm: flag, transform }),
    weights: object({}, Object.fromEntries(WEIGHT_NAMES.map((name) => [name, tensorSource]))),
  },
  { dValue: count },
);

/** @throws ConfigError `config/spec` naming the file (`label`) and the first thing that is wrong */
export function checkSpecForm(spec: unknown, label: string): void {
  SPEC.read(spec, new s.Place(label, "spec", (message) => new ConfigError("config/spec", message)));
}
