/**
 * EleutherAI's sparsify (https://github.com/EleutherAI/sparsify): `cfg.json` and `sae.safetensors` with `encoder.weight` [latents, dIn],
 * `encoder.bias`, `W_dec` [latents, dIn], `b_dec` and, of skip transcoders, `W_skip`. Features are the k largest of relu(encoder(x)); those
 * of a dictionary that is no transcoder are of x - b_dec. The folder's name says which module it is of, as in `layers.5.mlp`.
 */
import { ConfigError } from "../../errors.ts";
import type { FoundDictionary, FoundModule, Tensors } from "./found.ts";
import type { GivenHooks } from "./sae-lens.ts";
import { Settings } from "./settings.ts";

/** @throws ConfigError `module/setting`, `module/shape`; CheckpointError `module/tensor` */
export function readSparsify(label: string, config: unknown, tensors: Tensors, given: GivenHooks): FoundDictionary {
  const settings = Settings.of(`${label}/cfg.json`, config);
  const dIn = settings.count("d_in");
  const hasLatents = settings.get("num_latents") !== undefined && settings.get("num_latents") !== 0;
  const dSae = hasLatents ? settings.count("num_latents") : dIn * settings.count("expansion_factor");
  const isTranscoder = settings.flag("transcode", false);
  const { hookIn, hookOut } = hooksOf(label, given, isTranscoder);
  settings.oneOf("activation", ["topk"], "topk");
  settings.mustBeOff("signed", "Features with a sign cannot be computed here.");
  settings.ignore(["expansion_factor", "normalize_decoder", "multi_topk"]);
  const hasSkip = settings.flag("skip_connection", false);
  const spec: FoundModule["spec"] = {
    ...{ hookIn, hookOut, writes: [], dIn, dSae, dOut: dIn, hasSkip, isOfHeads: false },
    activation: { kind: "topk", k: settings.count("k") },
    subtractsDecoderBias: !isTranscoder,
  };
  settings.assertAllRead();
  const module: FoundModule = {
    spec,
    matrices: {
      W_enc: { tensor: tensors.take("encoder.weight", [dSae, dIn]), rows: dSae, width: dIn },
      W_dec: { tensor: tensors.take("W_dec", [dSae, dIn]), rows: dSae, width: dIn },
      ...(hasSkip && { W_skip: { tensor: tensors.take("W_skip", [dIn, dIn]), rows: dIn, width: dIn } }),
    },
    vectors: { b_enc: tensors.take("encoder.bias", [dSae]), b_dec: tensors.take("b_dec", [dIn]) },
  };
  tensors.assertAllUsed();
  return { label, format: "sparsify", config: config as Record<string, unknown>, modules: [module] };
}

/** A block's output, or that of a part of it, by the folder's name. */
function hooksOf(label: string, given: GivenHooks, isTranscoder: boolean): { hookIn: string; hookOut: string } {
  const [, layer, part] = /(?:^|\/)(?:layers|h)\.(\d+)(?:\.(mlp|attn|self_attn))?\/?$/.exec(label) ?? [];
  const site = part === undefined ? "hook_resid_post" : part === "mlp" ? "mlp.hook_out" : "attn.hook_out";
  const named = layer === undefined ? undefined : `blocks.${layer}.${site}`;
  const ofMlp = isTranscoder && part === "mlp" ? `blocks.${layer}.mlp.hook_in` : undefined;
  const hookIn = given.hook ?? (isTranscoder ? ofMlp : named);
  const hookOut = given.hookOut ?? (isTranscoder ? named : hookIn);
  if (hookIn !== undefined && hookOut !== undefined) return { hookIn, hookOut };
  throw new ConfigError(
    "module/setting",
    `${label}: neither the settings nor the folder's name (layers.5.mlp) say which activation the dictionary is of. Say it: loadDictionary(model, source, { hook: "blocks.5.mlp.hook_out" })${isTranscoder ? ", and hookOut" : ""}.`,
  );
}
