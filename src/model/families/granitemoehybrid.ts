/** Granite 4 where it is dense: Granite with a gated MLP in two tensors, with RoPE or without positions. Layers of state space and experts are refused. */
import { type Family, linear } from "./common.ts";
import { graniteLike } from "./granite.ts";
import { BLOCK, fusedGateUp } from "./llama-like.ts";

const DEFAULTS = {
  nLayers: 32,
  dModel: 4096,
  nHeads: 32,
  dMlp: 1024,
  vocabSize: 32000,
  maxPositions: 2048,
};

export const graniteMoeHybrid: Family = (config) => {
  config.requireFixed({ num_local_experts: 0 });
  if (!config.has("num_local_experts"))
    config.refuse("num_local_experts", "is missing, which means 8; this family runs with 0 experts");
  const spec = graniteLike(config, "granitemoehybrid", DEFAULTS, {
    eps: 1e-6,
    tied: false,
    names: { dMlp: ["shared_intermediate_size"] },
  });
  const types = config.list("layer_types", config.list("layers_block_type", new Array(spec.nLayers).fill("mamba")));
  const isAttention = (type: unknown) => type === "attention" || type === "full_attention";
  if (types.length !== spec.nLayers || !types.every(isAttention)) {
    const key = config.has("layers_block_type") && !config.has("layer_types") ? "layers_block_type" : "layer_types";
    config.refuse(key, `must be "attention" for each of ${spec.nLayers} layers: state-space layers are not supported`);
  }
  const hasRope = config.value("position_embedding_type") === "rope";
  return {
    ...spec,
    ropes: hasRope ? spec.ropes : [],
    layers: spec.layers.map((layer) => ({ ...layer, rope: hasRope ? 0 : null })),
    weights: {
      ...spec.weights,
      ...fusedGateUp(`${BLOCK}.shared_mlp.input_linear`, spec.dMlp),
      ...linear("mlp.out", `${BLOCK}.shared_mlp.output_linear`, { bias: false }),
    },
  };
};
