/** The form of a `ModelSpec` as data: which keys, of which types, within which bounds. */
import { ConfigError } from "../errors.ts";
import * as s from "../schema/schema.ts";
import type { WeightName } from "./spec.ts";

const { finite, positive, flag, nullable, oneOf, variants } = s;
const atLeastZero = s.notNegative;
const count = s.wholeFrom(1);
const index = s.wholeFrom(0);

/** Every key of `needed`, any of `optional`, and no other. */
function object(needed: Record<string, s.Schema>, optional: Record<string, s.Schema> = {}): s.Schema {
  const required = Object.entries(needed).map(([name, schema]) => [name, s.required(schema)]);
  return s.object("", { ...Object.fromEntries(required), ...optional });
}

const list = (schema: s.Schema) => s.list("them", schema);

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
    yarn: { ...stretch, betaFast: positive, betaSlow: positive, attentionFactor: positive, truncate: flag },
  }),
});

const rows = object({ groups: count, groupSize: count, start: index, count });
const tensorSource = object({ tensor: s.text }, { transpose: flag, rows, optional: flag });

/** Every weight there is. A record, so that the compiler notices a name added to `WeightName` and not here. */
const WEIGHT_NAMES: Record<WeightName, s.Schema> = {
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
const SPEC = object({
  family: s.text,
  nLayers: count,
  dModel: count,
  nHeads: count,
  nKvHeads: count,
  dHead: count,
  dMlp: index,
  vocabSize: count,
  maxPositions: count,
  embed: object({ scale: finite, norm: flag }),
  positions: variants({ none: {}, learned: { offset: index }, alibi: { slopes: list(finite) } }),
  norm,
  block: object({
    norms: oneOf("pre", "post", "sandwich"),
    residual: oneOf("sequential", "parallel"),
    parallelSharedNorm: flag,
    residualScale: finite,
  }),
  attention: object(
    {
      scale: finite,
      softCap: nullable(positive),
      qkNorm: oneOf("none", "head", "perHead", "full"),
      qkNormSpec: norm,
    },
    { causal: flag },
  ),
  mlp: object(
    {
      kind: oneOf("plain", "gated"),
      activation: oneOf("relu", "silu", "gelu", "gelu_tanh", "gelu_quick", "identity"),
    },
    { absent: flag },
  ),
  layers: list(object({ window: nullable(count), rope: nullable(index) }, { attentionScale: finite, dMlp: count })),
  ropes: list(rope),
  unembed: object({ tied: flag, scale: finite, softCap: nullable(positive) }),
  weights: object({}, WEIGHT_NAMES),
});

/** @throws ConfigError `config/spec` naming the file (`label`) and the first thing that is wrong */
export function checkSpecForm(spec: unknown, label: string): void {
  SPEC.read(spec, new s.Place(label, "spec", (message) => new ConfigError("config/spec", message)));
}
