/**
 * Llama 4's text model: layers with RoPE see the keys of their chunk and norm q and k after it; the others see all keys, without positions,
 * and their queries grow with their position. Experts, one a token, read what the router weighs, beside a shared MLP.
 */
import type { ConfigReader } from "../config.ts";
import type { ExpertsSpec, LayerSpec, TensorSource } from "../spec.ts";
import { type Family, rmsNorm, type Weights } from "./common.ts";
import { gateThenUp, router, sharedMlp, withExperts } from "./experts.ts";
import { BLOCK, gatedMlp, llamaLike } from "./llama-like.ts";

const DEFAULTS = {
  nLayers: 48,
  dModel: 5120,
  nHeads: 40,
  nKvHeads: 8,
  dHead: 128,
  dMlp: 16384,
  vocabSize: 202048,
  maxPositions: 131072,
};

const MLP = `${BLOCK}.feed_forward`;

export const llama4Text: Family = (config) => {
  config.requireFixed({ is_causal: true });
  const norm = rmsNorm(config.number("rms_norm_eps", 1e-5));
  const spec = llamaLike(config, "llama4_text", DEFAULTS, {
    names: { dMlp: ["intermediate_size_mlp"] },
    norm,
    rope: { theta: 500000, style: "interleaved" },
  });
  const dExpert = config.integer("intermediate_size", 8192);
  const normsQk = config.boolean("use_qk_norm", true);
  const attention = {
    ...spec.attention,
    ...(normsQk && { qkNorm: "head" as const, qkNormSpec: { ...norm, affine: false }, qkNormAfterRope: true }),
  };
  const experts: ExpertsSpec = {
    count: config.integer(["num_local_experts", "num_experts"], 16),
    perToken: config.integer("num_experts_per_tok", 1),
    dExpert,
    routing: { scores: "sigmoid", scale: 1 },
    weighsInput: true,
    shared: { dMlp: dExpert, gate: false },
  };
  const layers = llama4Layers(config, spec.nLayers, normsQk);
  const dense = { ...spec, attention, layers, weights: { ...spec.weights, ...gatedMlp(false, MLP) } };
  return withExperts(dense, experts, expertWeights(dExpert), denseLayers(config, spec.nLayers));
};

function llama4Layers(config: ConfigReader, nLayers: number, normsQk: boolean): LayerSpec[] {
  const interval = config.integer("no_rope_layer_interval", 4);
  const every = Array.from({ length: nLayers }, (_, i) => ((i + 1) % interval === 0 ? 0 : 1));
  // An empty list counts as none.
  const stated = config.list("no_rope_layers", []);
  const flags = stated.length === 0 ? every : stated;
  if (flags.length < nLayers || flags.some((flag) => flag !== 0 && flag !== 1))
    config.refuse("no_rope_layers", `must be a list of 0 or 1 for each of ${nLayers} layers`);
  const types = config.list(
    "layer_types",
    every.map((_, i) => (flags[i] === 1 ? "chunked_attention" : "full_attention")),
  );
  if (types.length !== nLayers) config.refuse("layer_types", `has ${types.length} entries for ${nLayers} layers`);
  if (types.some((type) => type !== "chunked_attention" && type !== "full_attention"))
    config.refuse("layer_types", "has an unsupported entry (supported: chunked_attention, full_attention)");
  const chunk = config.integer("attention_chunk_size", 8192);
  // transformers 4.51 saved a number, of which only zero says no.
  const tuning = config.value("attn_temperature_tuning");
  const isTuned = typeof tuning === "number" ? tuning !== 0 : config.boolean("attn_temperature_tuning", true);
  const queryScale = {
    factor: config.number("attn_scale", 0.1),
    span: config.integer("floor_scale", 8192),
    shift: 1,
  };
  return types.map((type, i): LayerSpec => {
    const seen = { window: null, ...(type === "chunked_attention" && { chunk }) };
    if (flags[i] === 1) return { ...seen, rope: 0 };
    return { ...seen, rope: null, ...(normsQk && { qkNorm: false }), ...(isTuned && { queryScale }) };
  });
}

/** `moe_layers` lists the layers with experts, or else there is a step from one to the next. */
function denseLayers(config: ConfigReader, nLayers: number): (layer: number) => boolean {
  const step = config.integer("interleave_moe_layer_step", 1);
  const every = Array.from({ length: nLayers }, (_, layer) => layer).filter((layer) => (layer + 1) % step === 0);
  const sparse = new Set(config.list("moe_layers", every));
  return (layer) => !sparse.has(layer);
}

/** All experts of a layer in one tensor, [expert, in, out]. */
function expertWeights(dExpert: number): Weights {
  const stored = (source: TensorSource): TensorSource => ({ ...source, transpose: true });
  const { gate, up } = gateThenUp(`${MLP}.experts.gate_up_proj`, dExpert);
  return {
    ...router(`${MLP}.router`),
    "mlp.experts.W_gate": stored(gate),
    "mlp.experts.W_in": stored(up),
    "mlp.experts.W_out": stored({ tensor: `${MLP}.experts.down_proj` }),
    ...sharedMlp(`${MLP}.shared_expert`),
  };
}
