/**
 * circuit-tracer's transcoders (https://github.com/safety-research/circuit-tracer). Of single layers: `layer_i.safetensors` with `W_enc`
 * [dSae, dIn], `W_dec` [dSae, dOut], `b_enc`, `b_dec`, and `activation_function.threshold` and `W_skip` where they have them. Across
 * layers: `W_enc_i.safetensors` with `W_enc_i`, `b_enc_i`, `b_dec_i`, `threshold_i`, and `W_dec_i.safetensors` with `W_dec_i`
 * [dSae, layers from i on, dModel]. `config.yaml` beside them names the points that they read and write in each block.
 */
import { ConfigError } from "../../errors.ts";
import type { FeatureActivation } from "../../model/modules.ts";
import type { FoundDictionary, FoundModule, FoundTensor, Tensors } from "./found.ts";
import type { GivenHooks } from "./sae-lens.ts";

/** The points within a block that transcoders read and write. */
export interface BlockHooks {
  readonly hookIn: string;
  readonly hookOut: string;
}

/**
 * The points within a block, from the caller or `config.yaml`.
 * @throws ConfigError `module/setting` where neither names them
 */
export function blockHooks(label: string, yaml: string | undefined, { hook, hookOut }: GivenHooks): BlockHooks {
  const inYaml = (name: string) => new RegExp(`^${name}:\\s*["']?([\\w.]+)["']?\\s*$`, "m").exec(yaml ?? "")?.[1];
  const [reads, writes] = [hook ?? inYaml("feature_input_hook"), hookOut ?? inYaml("feature_output_hook")];
  const inBlock = (name: string) => name.replace(/^blocks\.(\d+|\*)\./, "");
  if (reads !== undefined && writes !== undefined) return { hookIn: inBlock(reads), hookOut: inBlock(writes) };
  throw new ConfigError(
    "module/setting",
    `${label} has no config.yaml with feature_input_hook and feature_output_hook. Say which activations the transcoders read and give: loadDictionary(model, source, { hook: "mlp.hook_in", hookOut: "mlp.hook_out" }).`,
  );
}

/** One transcoder of each layer that there is a file of. */
export function readTranscoders(
  label: string,
  layers: ReadonlyMap<number, Tensors>,
  { hookIn, hookOut }: BlockHooks,
): FoundDictionary {
  const modules = [...layers].map(([layer, tensors]): FoundModule => {
    const [dSae, dIn] = tensors.shapeOf("W_enc", 2) as [number, number];
    const [, dOut] = tensors.shapeOf("W_dec", 2) as [number, number];
    const threshold = tensors.maybe("activation_function.threshold", [dSae]);
    const W_skip = tensors.maybe("W_skip", [dOut, dIn]);
    const module: FoundModule = {
      spec: {
        ...{ hookIn: `blocks.${layer}.${hookIn}`, hookOut: `blocks.${layer}.${hookOut}`, writes: [], dIn, dSae, dOut },
        ...{ hasSkip: W_skip !== undefined, subtractsDecoderBias: false, isOfHeads: false },
        activation: activationOf(threshold),
      },
      matrices: {
        W_enc: { tensor: tensors.take("W_enc", [dSae, dIn]), rows: dSae, width: dIn },
        W_dec: { tensor: tensors.take("W_dec", [dSae, dOut]), rows: dSae, width: dOut },
        ...(W_skip && { W_skip: { tensor: W_skip, rows: dOut, width: dIn } }),
      },
      vectors: { b_enc: tensors.take("b_enc", [dSae]), b_dec: tensors.take("b_dec", [dOut]), threshold },
    };
    tensors.assertAllUsed();
    return module;
  });
  return { label, format: "circuit-tracer", config: {}, modules };
}

const activationOf = (threshold: FoundTensor | undefined): FeatureActivation => ({
  kind: threshold ? "jumprelu" : "relu",
});

/** A transcoder across layers: features of layer i write to it and to all after it. */
export function readCrossLayer(label: string, layers: readonly Tensors[], hooks: BlockHooks): FoundDictionary {
  const count = layers.length;
  const modules = layers.map((tensors, layer): FoundModule => {
    const [dSae, dIn] = tensors.shapeOf(`W_enc_${layer}`, 2) as [number, number];
    const [, , dOut] = tensors.shapeOf(`W_dec_${layer}`, 3) as [number, number, number];
    const threshold = tensors.maybe(`threshold_${layer}`, [dSae]);
    const decoder = tensors.take(`W_dec_${layer}`, [dSae, count - layer, dOut]);
    const decoderFor = (at: number) => ({
      ...{ tensor: decoder, rows: dSae, width: dOut, slice: { at, of: count - layer } },
    });
    const later = Array.from({ length: count - layer - 1 }, (_, index) => index + 1);
    const hookAt = (at: number) => `blocks.${layer + at}.${hooks.hookOut}`;
    const module: FoundModule = {
      spec: {
        ...{ hookIn: `blocks.${layer}.${hooks.hookIn}`, hookOut: hookAt(0), dIn, dSae, dOut },
        writes: later.map((at) => ({ hook: hookAt(at), decoder: `W_dec_${at}` })),
        ...{ hasSkip: false, subtractsDecoderBias: false, isOfHeads: false },
        activation: activationOf(threshold),
      },
      matrices: {
        W_enc: { tensor: tensors.take(`W_enc_${layer}`, [dSae, dIn]), rows: dSae, width: dIn },
        W_dec: decoderFor(0),
        ...Object.fromEntries(later.map((at) => [`W_dec_${at}`, decoderFor(at)])),
      },
      vectors: {
        b_enc: tensors.take(`b_enc_${layer}`, [dSae]),
        b_dec: tensors.take(`b_dec_${layer}`, [dOut]),
        threshold,
      },
    };
    tensors.assertAllUsed();
    return module;
  });
  return { label, format: "circuit-tracer across layers", config: {}, modules };
}
