/**
 * Gemma Scope's `params.npz` (Lieberum et al. 2024, arXiv 2408.05147): JumpReLU dictionaries, `W_enc` [dIn, dSae], `W_dec` [dSae, dOut],
 * `b_enc`, `b_dec`, `threshold`. The decoder's bias is not subtracted from what is read. The file does not say where it belongs: the
 * path does, of the repositories that Google published, or the caller.
 */
import { ConfigError } from "../../errors.ts";
import type { FoundDictionary, FoundModule, Tensors } from "./found.ts";
import type { GivenHooks } from "./sae-lens.ts";

/** By what the names of the repositories end with: which activation of the block they are of. */
const SITES: Readonly<Record<string, string>> = { res: "hook_resid_post", mlp: "hook_mlp_out", att: "attn.hook_z" };

/** @throws ConfigError `module/setting` where nothing says which activation it is of; CheckpointError `module/tensor` */
export function readGemmaScope(label: string, tensors: Tensors, given: GivenHooks): FoundDictionary {
  const [dIn, dSae] = tensors.shapeOf("W_enc", 2) as [number, number];
  const [, dOut] = tensors.shapeOf("W_dec", 2) as [number, number];
  const hookIn = given.hook ?? hookOfPath(label);
  const spec: FoundModule["spec"] = {
    ...{ hookIn, hookOut: given.hookOut ?? hookIn, writes: [], dIn, dSae, dOut, hasSkip: false },
    activation: { kind: "jumprelu" },
    subtractsDecoderBias: false,
    isOfHeads: hookIn.endsWith("hook_z"),
  };
  const module: FoundModule = {
    spec,
    matrices: {
      W_enc: { tensor: tensors.take("W_enc", [dIn, dSae]), rows: dSae, width: dIn, isTransposed: true },
      W_dec: { tensor: tensors.take("W_dec", [dSae, dOut]), rows: dSae, width: dOut },
    },
    vectors: {
      b_enc: tensors.take("b_enc", [dSae]),
      b_dec: tensors.take("b_dec", [dOut]),
      threshold: tensors.take("threshold", [dSae]),
    },
  };
  tensors.assertAllUsed();
  return { label, format: "Gemma Scope", config: {}, modules: [module] };
}

function hookOfPath(label: string): string {
  const layer = /(?:^|[/_])layer_(\d+)(?:\/|$)/.exec(label)?.[1];
  const site = SITES[/gemma-scope-[\w.-]*-(res|mlp|att)(?:[/@-]|$)/.exec(label)?.[1] ?? ""];
  if (layer !== undefined && site !== undefined) return `blocks.${layer}.${site}`;
  throw new ConfigError(
    "module/setting",
    `${label} does not say which activation the dictionary is of. Say it: loadDictionary(model, source, { hook: "blocks.20.hook_resid_post" }).`,
  );
}
