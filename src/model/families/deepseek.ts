/**
 * DeepSeek V2 and V3: keys and values of all heads come from a latent vector, and all but the first layers have experts beside a shared
 * MLP. V2 chooses experts by their softmax, perhaps in the best groups alone; V3 by sigmoids with a correction, in groups.
 */
import type { ConfigReader } from "../config.ts";
import type { ExpertsSpec, ModelSpec, RoutingSpec, TensorSource } from "../spec.ts";
import { type Family, linear, norm, rmsNorm, type SizeDefaults, type Weights } from "./common.ts";
import { withDeepseekExperts } from "./deepseek_like.ts";
import { PROJ, router, separateExperts, sharedMlp, withExperts } from "./experts.ts";
import { BLOCK, llamaLike } from "./llama-like.ts";
import { scoreScale } from "./rope-config.ts";

const V2 = { nLayers: 32, dModel: 4096, nHeads: 32, dMlp: 11008, vocabSize: 32000, maxPositions: 2048 };
const V3 = { nLayers: 61, dModel: 7168, nHeads: 128, dMlp: 18432, vocabSize: 129280, maxPositions: 4096 };

export const deepseekV3: Family = (config) => {
  const isInterleaved = config.nullableBoolean("rope_interleave", true);
  const spec = latentSpec(config, "deepseek_v3", V3, {
    style: isInterleaved ? "interleaved" : "half",
    kvHeads: 128,
    mlpBias: false,
  });
  const routing = { groups: 8, groupsChosen: 4, normalize: true, scale: 2.5 };
  const defaults = { routing, firstSparse: 3, dExpert: 2048, count: 256, perToken: 8, shared: 1 };
  return withDeepseekExperts(config, spec, defaults);
};

export const deepseekV2: Family = (config) => {
  // transformers takes no notice of it, and DeepSeek's own code does.
  config.requireFixed({ norm_topk_prob: false });
  const mlpBias = config.boolean("mlp_bias", false);
  const spec = latentSpec(config, "deepseek_v2", V2, { style: "interleaved", kvHeads: null, mlpBias });
  const dExpert = config.integer("moe_intermediate_size", 1407);
  const count = config.integer(["n_routed_experts", "num_experts"], 64);
  const perToken = config.integer("num_experts_per_tok");
  const experts: ExpertsSpec = {
    ...{ count, perToken, dExpert },
    routing: greedyRouting(config, count, perToken),
    shared: { dMlp: config.integer("n_shared_experts", 2) * dExpert, gate: false },
  };
  const first = config.number("first_k_dense_replace", 0);
  const weights = {
    ...router(),
    ...separateExperts(`${BLOCK}.mlp.experts`, PROJ),
    ...sharedMlp(`${BLOCK}.mlp.shared_experts`, mlpBias),
  };
  return withExperts(spec, experts, weights, (layer) => layer < first);
};

/** The greatest of all, or of the groups with the greatest. */
function greedyRouting(config: ConfigReader, experts: number, perToken: number): RoutingSpec {
  const plain: RoutingSpec = { scores: "softmax", scale: config.number("routed_scaling_factor", 1) };
  const method = config.value("topk_method") === undefined ? "greedy" : config.value("topk_method");
  if (method === "greedy") return plain;
  if (method !== "group_limited_greedy")
    config.refuse("topk_method", "is not supported (supported: greedy, group_limited_greedy)");
  const [count, chosen] = [config.integer("n_group"), config.integer("topk_group")];
  // An expert of another group would have the weight 0 in transformers.
  if (perToken > (chosen * experts) / count)
    config.refuse("num_experts_per_tok", `is more than the experts of ${chosen} groups`);
  return { ...plain, groups: { count, chosen, by: "max" } };
}

interface LatentOptions {
  style: "half" | "interleaved";
  /** transformers' default for `num_key_value_heads`; null: as many as heads. */
  kvHeads: number | null;
  mlpBias: boolean;
}

/** Llama with multi-head latent attention. */
function latentSpec(
  config: ConfigReader,
  family: string,
  defaults: SizeDefaults,
  { style, kvHeads, mlpBias }: LatentOptions,
): ModelSpec {
  const dNope = config.integer("qk_nope_head_dim", 128);
  const dRope = config.integer("qk_rope_head_dim", 64);
  const dValue = config.integer("v_head_dim", 128);
  const dKv = config.integer("kv_lora_rank", 512);
  const dQ = config.nullableInteger("q_lora_rank", 1536);
  config.requireFixed({ head_dim: dRope, qk_head_dim: dNope + dRope });
  const bias = config.boolean("attention_bias", false);
  const spec = llamaLike(
    config,
    family,
    { ...defaults, dHead: dNope + dRope },
    {
      names: { nKvHeads: [], dHead: [] },
      ...{ qkvBias: false, outBias: bias, mlpBias },
      rope: { dHead: dRope, style },
    },
  );
  const { nHeads, attention, weights } = spec;
  if ((config.nullableInteger("num_key_value_heads", kvHeads) ?? nHeads) !== nHeads)
    config.refuse(
      "num_key_value_heads",
      `must be num_attention_heads = ${nHeads}: each head has its own keys and values`,
    );
  const latent = { dKv, dRope, ...(dQ !== null && { dQ }), norm: rmsNorm(1e-6) };
  const others = Object.entries(weights).filter(([name]) => !/^attn\.[Wb]_[QKV]$/.test(name));
  return {
    ...spec,
    dValue,
    attention: { ...attention, scale: attention.scale * scoreScale(config), latent },
    weights: {
      ...Object.fromEntries(others),
      ...queryWeights(dQ !== null, bias),
      ...keyValueWeights({ nHeads, dNope, dRope, dValue, dKv }, bias),
    },
  };
}

const ATTENTION = `${BLOCK}.self_attn`;

function queryWeights(hasLatent: boolean, bias: boolean): Weights {
  if (!hasLatent) return linear("attn.Q", `${ATTENTION}.q_proj`, { bias: false });
  return {
    ...linear("attn.DQ", `${ATTENTION}.q_a_proj`, { bias }),
    ...norm("attn.qLatentNorm", `${ATTENTION}.q_a_layernorm`, { bias: false }),
    ...linear("attn.UQ", `${ATTENTION}.q_b_proj`, { bias: false }),
  };
}

/** The latent vector and the part of keys that rotates are rows of one tensor, keys and values of each head of another. */
function keyValueWeights(
  { nHeads, dNope, dRope, dValue, dKv }: Record<"nHeads" | "dNope" | "dRope" | "dValue" | "dKv", number>,
  bias: boolean,
): Weights {
  const down = (start: number, count: number): TensorSource["rows"] => ({
    groups: 1,
    groupSize: dKv + dRope,
    start,
    count,
  });
  const up = (start: number, count: number): TensorSource["rows"] => ({
    groups: nHeads,
    groupSize: dNope + dValue,
    start,
    count,
  });
  const [first, second] = [`${ATTENTION}.kv_a_proj_with_mqa`, `${ATTENTION}.kv_b_proj`];
  return {
    ...linear("attn.DKV", first, { bias, rows: down(0, dKv) }),
    ...linear("attn.KR", first, { bias, rows: down(dKv, dRope) }),
    ...norm("attn.kvLatentNorm", `${ATTENTION}.kv_a_layernorm`, { bias: false }),
    ...linear("attn.UK", second, { bias: false, rows: up(0, dNope) }),
    ...linear("attn.UV", second, { bias: false, rows: up(dNope, dValue) }),
  };
}
