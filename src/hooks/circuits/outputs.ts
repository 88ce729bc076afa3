/**
 * What each node adds to the residual stream: its output, which its edges carry.
 *
 * Embeddings and MLPs have a point that is just that. A head adds its result times the residual multiplier. Where a norm follows
 * attention (olmo2, gemma2, gemma3), what a head adds is its result through that norm, with the divisor that the norm has in that run: so
 * the norm is linear, and the heads together are what attention adds. The readouts split it in the same way. Clean and
 * corrupted run each have a divisor of their own.
 */
import { HookError } from "../../errors.ts";
import type { ModelSpec } from "../../model/spec.ts";
import { normalized } from "../../ops/norm-reference.ts";
import type { HookedModel } from "../hooked-model.ts";

/** The output of the embeddings: the first residual. */
export const INPUT_POINT = "blocks.0.hook_resid_pre";

/** The points from which nodes' outputs follow. */
export const outputPoints = (spec: ModelSpec): string[] => pointsInBlocks(spec, "attn.hook_result");

/** The points that hold outputs, of all heads of a layer together. */
export const summedPoints = (spec: ModelSpec): string[] => pointsInBlocks(spec, "hook_attn_out");

function pointsInBlocks({ nLayers, mlp }: ModelSpec, ofHeads: string): string[] {
  const inBlock = [ofHeads, ...(mlp.absent ? [] : ["hook_mlp_out"])];
  const layers = Array.from({ length: nLayers }, (_, layer) => layer);
  return [INPUT_POINT, ...layers.flatMap((layer) => inBlock.map((name) => `blocks.${layer}.${name}`))];
}

/** Whether a node's output is at a point, or a part of what is there. */
export function isOutputAt(point: string, node: string): boolean {
  if (point === INPUT_POINT) return node === "input";
  const layer = layerOf(point);
  return point.endsWith("hook_mlp_out") ? node === `m${layer}` : node.startsWith(`a${layer}.`);
}

const layerOf = (point: string) => Number(/^blocks\.(\d+)/.exec(point)?.[1]);

const normsAfterAttention = ({ block, norm }: ModelSpec) => block.norms !== "pre" && norm.kind !== "none";

/** @throws HookError `hook/unsupported` for a norm after attention that also norms a bias, which is no head's */
export function refuseNormedBias(spec: ModelSpec): void {
  if (!normsAfterAttention(spec) || !spec.weights["attn.b_O"]) return;
  throw new HookError(
    "hook/unsupported",
    `This ${spec.family} model norms its heads together with the bias b_O. What the bias adds then depends on the prompt and belongs to no head, so that edges have no exact meaning. Use activationPatch or attributionPatch at "attn_out" and "mlp_out".`,
  );
}

/** The outputs of a model's nodes, from activations at `outputPoints`. */
export class NodeOutputs {
  private constructor(
    private readonly spec: ModelSpec,
    /** Of the norm after attention, by layer. */
    private readonly normWeights: readonly (Float32Array | undefined)[],
  ) {}

  /** @throws HookError `hook/unsupported` */
  static async of(model: HookedModel): Promise<NodeOutputs> {
    const { spec } = model;
    refuseNormedBias(spec);
    const names = new Set(model.weightNames());
    const read = async (name: string) => (names.has(name) ? (await model.weight(name)).data : undefined);
    const weights = spec.layers.map((_, layer) => read(`blocks.${layer}.ln1_post.w`));
    return new NodeOutputs(spec, await Promise.all(weights));
  }

  /** What the nodes of a point add to the residual, each [rows, dModel], of the point's activation. */
  at(point: string, activation: Float32Array): Map<string, Float32Array> {
    if (point === INPUT_POINT) return new Map([["input", activation]]);
    const layer = layerOf(point);
    if (point.endsWith("hook_mlp_out")) return new Map([[`m${layer}`, activation]]);
    const { nHeads, dModel, block } = this.spec;
    const heads = Array.from({ length: nHeads }, () => new Float32Array(activation.length / nHeads));
    for (let row = 0; row < activation.length / nHeads / dModel; row++) {
      const results = heads.map((_, head) => {
        const start = (row * nHeads + head) * dModel;
        return activation.subarray(start, start + dModel);
      });
      for (const [head, added] of this.#throughNorm(results, layer).entries()) {
        const out = (heads[head] as Float32Array).subarray(row * dModel);
        for (let d = 0; d < dModel; d++) out[d] = block.residualScale * (added[d] as number);
      }
    }
    return new Map(heads.map((output, head) => [`a${layer}.h${head}`, output]));
  }

  /** The results of one row's heads, through the norm after attention. */
  #throughNorm(results: readonly Float32Array[], layer: number): readonly ArrayLike<number>[] {
    const { norm } = this.spec;
    if (!normsAfterAttention(this.spec)) return results;
    const sum = Float64Array.from(results[0] as Float32Array, (_, d) =>
      results.reduce((all, result) => all + (result[d] as number), 0),
    );
    const { scale } = normalized(sum, norm);
    const w = this.normWeights[layer];
    return results.map((result) => {
      const mean = norm.kind === "layer" ? result.reduce((all, value) => all + value, 0) / result.length : 0;
      return Float64Array.from(
        result,
        (value, d) => ((value - mean) / scale) * (w ? (w[d] as number) + norm.weightOffset : 1),
      );
    });
  }
}
