/** The weights of a model on the GPU. */
import type { Tensor } from "../../gpu/tensor.ts";
import type { Matrix, NormWeights } from "../../kernels/matrix.ts";
import type { PlannedWeight } from "./plan.ts";
import type { LayerStream } from "./stream.ts";

export interface BlockWeights {
  ln1?: NormWeights;
  ln1Post?: NormWeights;
  ln2?: NormWeights;
  ln2Post?: NormWeights;
  /**
   * Queries, keys, values stacked, [nHeads dHead + nKvHeads (dHead + dValue), dModel]; those of them that the block makes. Of latent attention
   * queries at most.
   */
  qkv?: Matrix;
  qkvBias?: Tensor;
  /** Latent attention: from x to the latent vectors and to the part of keys that rotates, and from the latent vectors on. */
  W_DQ?: Matrix;
  b_DQ?: Tensor;
  qLatentNorm?: NormWeights;
  W_UQ?: Matrix;
  b_UQ?: Tensor;
  W_DKV?: Matrix;
  b_DKV?: Tensor;
  kvLatentNorm?: NormWeights;
  /** Keys and values stacked: [nHeads (dHead - dRope + dValue), dKv]. */
  kvUp?: Matrix;
  kvUpBias?: Tensor;
  W_KR?: Matrix;
  b_KR?: Tensor;
  qNorm?: NormWeights;
  kNorm?: NormWeights;
  vNorm?: NormWeights;
  /** [nHeads]. */
  sinks?: Tensor;
  W_O: Matrix;
  b_O?: Tensor;
  /** [dMlp, dModel]; the gate in gated MLPs alone, the others in those that have one. */
  W_gate?: Matrix;
  b_gate?: Tensor;
  W_in?: Matrix;
  b_in?: Tensor;
  /** [2] each: alphaP and alphaN, and beta and eps. */
  xielu?: Tensor;
  xieluConstants?: Tensor;
  /** [dModel, dMlp]. */
  W_out?: Matrix;
  b_out?: Tensor;
  /** [dPerLayer, dModel] and [dModel, dPerLayer], and the norm of what they give, where blocks have embeddings of their own. */
  W_perLayer_gate?: Matrix;
  b_perLayer_gate?: Tensor;
  W_perLayer_out?: Matrix;
  b_perLayer_out?: Tensor;
  perLayerNorm?: NormWeights;
  /** [1]. */
  scalar?: Tensor;
  /** Of a mixture of experts: [experts, dModel], and what is added to scores where experts are chosen by. */
  W_router?: Matrix;
  b_router?: Tensor;
  b_choice?: Tensor;
  /** [experts * dExpert, dModel]. */
  W_experts_gate?: Matrix;
  b_experts_gate?: Tensor;
  W_experts_in?: Matrix;
  b_experts_in?: Tensor;
  /** [experts * dModel, dExpert]. */
  W_experts_out?: Matrix;
  b_experts_out?: Tensor;
  /** As those of one MLP. */
  W_shared_gate?: Matrix;
  b_shared_gate?: Tensor;
  W_shared_in?: Matrix;
  b_shared_in?: Tensor;
  W_shared_out?: Matrix;
  b_shared_out?: Tensor;
  /** [1, dModel]. */
  W_shared_weight?: Matrix;
}

/** The weights of a dictionary, by the names that `model/modules.ts` has for them. */
export type ModuleWeights = Readonly<Record<string, Matrix | Tensor | NormWeights>>;

export interface Weights {
  W_E: Matrix;
  W_pos?: Matrix;
  embedNorm?: NormWeights;
  /** [vocab, nLayers * dPerLayer], [nLayers * dPerLayer, dModel] and [dPerLayer], where blocks have embeddings of their own. */
  W_E_perLayer?: Matrix;
  perLayerProjection?: Matrix;
  perLayerNorm?: NormWeights;
  /** [dModel, dEmbed] and [dEmbed, dModel], where the embedding is not as wide as the residual. */
  embedProjection?: Matrix;
  unembedProjection?: Matrix;
  /** [dModel, dModel], its bias and the norm after it, where a layer stands before the unembedding. */
  unembedTransform?: Matrix;
  unembedTransformBias?: Tensor;
  unembedNorm?: NormWeights;
  blocks: BlockWeights[];
  lnFinal?: NormWeights;
  W_U: Matrix;
  b_U?: Tensor;
  /** Of the dictionaries that are spliced in, by index; they own them. */
  modules?: readonly ModuleWeights[];
  /** What they were made of. */
  planned: readonly PlannedWeight[];
  /** Brings the matrices of blocks that are not on the GPU all the time. */
  stream?: LayerStream;
}

/** Every buffer of the weights, each once (a tied head shares the embedding's). */
export function weightBuffers(weights: Weights): Set<GPUBuffer> {
  const buffers = new Set<GPUBuffer>();
  const visit = (value: unknown): void => {
    if (value === null || typeof value !== "object") return;
    if ("buffer" in value) buffers.add((value as { buffer: GPUBuffer }).buffer);
    else for (const inner of Object.values(value)) visit(inner);
  };
  visit(weights);
  return buffers;
}
