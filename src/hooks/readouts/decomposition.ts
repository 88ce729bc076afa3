/**
 * The plan of a decomposition: the components that add up to the residual at a place, where each is read, and how they are
 * stacked. `decomposeResid`, `headResults` and `directLogitAttribution` use it.
 */
import type { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { gather } from "../../kernels/calls.ts";
import { packedView, type View } from "../../kernels/view.ts";
import type { ModelSpec } from "../../model/spec.ts";
import type { BlockWeights, Weights } from "../../model/weights/weights.ts";
import { pointTable } from "../points.ts";
import { hasAttentionBias, headPoint, recordHeadParts } from "./head-parts.ts";
import type { Activations } from "./source.ts";

/** Names of the points that a given cache holds; undefined: all are captured. */
type Held = ReadonlySet<string> | undefined;

/** One captured point, which is one component, or one block's attention cut into heads and bias. */
type Part = { point: (held: Held) => string; labels: readonly string[]; headsOf?: number };

export interface DecompositionOptions {
  /** The residual before this block; `nLayers`: after the last. */
  layer: number;
  /** Also the attention of block `layer`: what its MLP reads. */
  mlpInput?: boolean;
  /** Heads instead of `attn_out`. */
  heads?: boolean;
  /** With `heads`, also what attention adds that belongs to no head. Included unless false. */
  headBias?: boolean;
  /** Without the embeddings or the MLPs. Both are included unless false. */
  embeds?: boolean;
  mlps?: boolean;
}

export class Decomposition {
  readonly labels: readonly string[];
  readonly #parts: readonly Part[];

  constructor(
    private readonly spec: ModelSpec,
    private readonly weights: Weights,
    options: DecompositionOptions,
  ) {
    this.#parts = partsOf(spec, weights, options);
    this.labels = this.#parts.flatMap(({ labels }) => labels);
  }

  /** The points that are read. */
  points(held: Held): string[] {
    return this.#parts.map(({ point }) => point(held));
  }

  /** Fills components 0.. of `stack` [components, batch, pos, dModel]. */
  record(recorder: Recorder, activations: Activations, stack: Tensor): void {
    const { dModel } = this.spec;
    const stride = activations.batch * activations.width * dModel;
    const held = new Set(activations.cache.names);
    let component = 0;
    for (const { point, labels, headsOf } of this.#parts) {
      // Components of a stack lie one after the other, like heads.
      const target = { ...packedView(stack, dModel, 1, component * stride), headStride: stride };
      if (headsOf === undefined) {
        const source = packedView(activations.tensor(point(held)), dModel);
        gather(recorder, source, target, activations.pairs(recorder, "source", "target"));
      } else {
        this.#recordHeads(recorder, activations, headsOf, point(held), target, labels.length > this.spec.nHeads);
      }
      component += labels.length;
    }
  }

  #recordHeads(
    recorder: Recorder,
    activations: Activations,
    layer: number,
    point: string,
    target: View,
    withBias: boolean,
  ): void {
    const { nHeads, dModel } = this.spec;
    const { heads, bias } = recordHeadParts(recorder, this.spec, this.weights, layer, point, activations);
    const pairs = activations.pairs(recorder, "packed", "target");
    gather(recorder, packedView(heads, dModel, nHeads), { ...target, heads: nHeads }, pairs);
    if (bias && withBias) {
      const behind = { ...target, start: target.start + nHeads * target.headStride };
      gather(recorder, packedView(bias, dModel), behind, pairs);
    }
    recorder.release(heads);
  }
}

function partsOf(spec: ModelSpec, weights: Weights, options: DecompositionOptions): Part[] {
  const { layer, mlpInput = false, heads = false, headBias = true, embeds = true, mlps = true } = options;
  const parts = embeds ? embeddingParts(spec) : [];
  const attention = (block: number): Part =>
    heads
      ? { point: (held) => headPoint(block, held), labels: headLabels(spec, weights, block, headBias), headsOf: block }
      : whole(`blocks.${block}.hook_attn_out`, `${block}_attn_out`);
  for (let block = 0; block < layer; block++) {
    parts.push(attention(block));
    const mlpOut = `blocks.${block}.hook_mlp_out`;
    if (mlps && pointTable(spec).has(mlpOut)) parts.push(whole(mlpOut, `${block}_mlp_out`));
  }
  if (mlpInput) parts.push(attention(layer));
  return parts;
}

/** A point that is one component. */
function whole(point: string, label: string): Part {
  return { point: () => point, labels: [label] };
}

/** A norm after the embedding (bloom) takes in all that came before it: then there is one component, what it gives. */
function embeddingParts(spec: ModelSpec): Part[] {
  if (spec.embed.norm) return [whole("blocks.0.hook_resid_pre", "embed")];
  const parts = [whole("hook_embed", "embed")];
  if (pointTable(spec).has("hook_pos_embed")) parts.push(whole("hook_pos_embed", "pos_embed"));
  return parts;
}

function headLabels(spec: ModelSpec, weights: Weights, layer: number, withBias: boolean): string[] {
  const labels = Array.from({ length: spec.nHeads }, (_, head) => `L${layer}H${head}`);
  return withBias && hasAttentionBias(spec, weights.blocks[layer] as BlockWeights)
    ? [...labels, `${layer}_attn_bias`]
    : labels;
}
