/**
 * SAELens's folders (https://github.com/decoderesearch/SAELens): `cfg.json` and `sae_weights.safetensors`.
 *
 * Since version 6 `cfg.json` has what the dictionary computes, and where it belongs under `metadata`. Before, one flat object had both,
 * and often the settings of its training as well. A BatchTopK dictionary is saved as a JumpReLU one.
 */
import { ConfigError } from "../../errors.ts";
import type { ModuleSpec } from "../../model/modules.ts";
import type { FoundDictionary, FoundModule, Tensors } from "./found.ts";
import { Settings } from "./settings.ts";

/** What each architecture is made of. */
const ARCHITECTURES = {
  standard: { activation: "relu", isTranscoder: false, hasSkip: false },
  topk: { activation: "topk", isTranscoder: false, hasSkip: false },
  batchtopk: { activation: "jumprelu", isTranscoder: false, hasSkip: false },
  jumprelu: { activation: "jumprelu", isTranscoder: false, hasSkip: false },
  gated: { activation: "gated", isTranscoder: false, hasSkip: false },
  transcoder: { activation: "relu", isTranscoder: true, hasSkip: false },
  skip_transcoder: { activation: "relu", isTranscoder: true, hasSkip: true },
  // Not SAELens's: a transcoder in training, which is saved as a JumpReLU one.
  topk_transcoder: { activation: "topk", isTranscoder: true, hasSkip: false },
  jumprelu_transcoder: { activation: "jumprelu", isTranscoder: true, hasSkip: false },
  jumprelu_skip_transcoder: { activation: "jumprelu", isTranscoder: true, hasSkip: true },
} as const;
const NAMES = Object.keys(ARCHITECTURES) as (keyof typeof ARCHITECTURES)[];

const NORMALIZATIONS = ["none", "expected_average_only_in", "constant_norm_rescale", "layer_norm"] as const;

/** Of how it was stored, trained and published: nothing that a pass computes. */
const INERT = [
  ...["dtype", "device", "sae_lens_version", "sae_lens_training_version", "neuronpedia_id", "release", "sae_id"],
  ...["model_name", "model_class_name", "model_from_pretrained_kwargs", "prepend_bos", "context_size", "seqpos_slice"],
  ...[
    "dataset_path",
    "dataset_trust_remote_code",
    "dataset",
    "hook_layer",
    "hook_point_layer",
    "exclude_special_tokens",
  ],
  ...["streaming", "is_dataset_tokenized", "use_cached_activations", "cached_activations_path", "expansion_factor"],
  ...["from_pretrained_path", "n_batches_in_buffer", "training_tokens", "total_training_tokens", "finetuning_tokens"],
  ...[
    "finetuning_method",
    "store_batch_size",
    "store_batch_size_prompts",
    "train_batch_size",
    "train_batch_size_tokens",
  ],
  ...["act_store_device", "seed", "b_dec_init_method", "init_encoder_as_decoder_transpose", "decoder_orthogonal_init"],
  ...[
    "decoder_heuristic_init",
    "decoder_heuristic_init_norm",
    "normalize_sae_decoder",
    "noise",
    "mse_loss_normalization",
  ],
  ...["l1_coefficient", "l0_lambda", "lp_norm", "scale_sparsity_penalty_by_decoder_norm", "l1_warm_up_steps"],
  ...[
    "lr",
    "lr_scheduler_name",
    "lr_warm_up_steps",
    "lr_end",
    "lr_decay_steps",
    "n_restart_cycles",
    "train_step_kwargs",
  ],
  ...[
    "adam_beta1",
    "adam_beta2",
    "use_ghost_grads",
    "feature_sampling_window",
    "dead_feature_window",
    "n_eval_batches",
  ],
  ...["dead_feature_threshold", "eval_every_n_wandb_logs", "eval_batch_size_prompts", "log_to_wandb", "wandb_project"],
  ...["log_activations_store_to_wandb", "log_optimizer_state_to_wandb", "wandb_id", "run_name", "wandb_entity"],
  ...["wandb_log_frequency", "resume", "n_checkpoints", "checkpoint_path", "verbose", "model_kwargs", "autocast"],
  ...["autocast_lm", "compile_llm", "llm_compilation_mode", "compile_sae", "sae_compilation_mode", "tokens_per_buffer"],
  ...["normalize_decoder", "jumprelu_init_threshold", "jumprelu_bandwidth", "log_to_wandb", "ghost_grads", "repo_id"],
  ...["folder_name", "hf_hook_name", "training_tokens_in_buffer", "use_sparse_activations", "aux_loss_coefficient"],
];

const GOES_ON = 'Say what it must be: loadDictionary(model, source, { hook: "blocks.0.hook_resid_post" }).';

/** The hooks that a caller gives in place of the file's. */
export interface GivenHooks {
  readonly hook?: string | undefined;
  readonly hookOut?: string | undefined;
}

/** @throws ConfigError `module/setting`, `module/shape`; CheckpointError `module/tensor` */
export function readSaeLens(label: string, config: unknown, tensors: Tensors, given: GivenHooks = {}): FoundDictionary {
  const settings = Settings.of(`${label}/cfg.json`, config);
  const metadata = settings.has("metadata")
    ? Settings.of(`${label}/cfg.json, metadata`, settings.get("metadata"))
    : settings;
  const { activation, isTranscoder, hasSkip } = architectureOf(settings);
  const { hookIn, hookOut } = hooksOf(settings, metadata, given, isTranscoder);
  const dIn = settings.count("d_in");
  const dSae = settings.count("d_sae");
  const dOut = settings.has("d_out") ? settings.count("d_out") : dIn;
  const { scale, normalize } = normalization(settings, isTranscoder);
  const spec: FoundModule["spec"] = {
    ...{ normalize, hookIn, hookOut, writes: [], dIn, dSae, dOut, hasSkip },
    activation: activation === "topk" ? { kind: activation, k: kOf(settings) } : { kind: activation },
    subtractsDecoderBias: settings.flag("apply_b_dec_to_input", !isTranscoder),
    isOfHeads:
      settings.oneOf("reshape_activations", ["none", "hook_z"], hookIn.endsWith("hook_z") ? "hook_z" : "none") ===
      "hook_z",
  };
  if (isTranscoder && spec.subtractsDecoderBias)
    throw settings.refuse(
      "apply_b_dec_to_input",
      "A transcoder's b_dec belongs to what it writes, not to what it reads: set it to false.",
    );
  const isScaled = refuseOthers(settings, tensors);
  settings.ignore(INERT);
  settings.assertAllRead();
  const module = tensorsOf(spec, tensors, scale, isScaled);
  tensors.assertAllUsed();
  return { label, format: "SAELens", config: config as Record<string, unknown>, modules: [module] };
}

function architectureOf(settings: Settings): (typeof ARCHITECTURES)[(typeof NAMES)[number]] {
  const name = settings.oneOf("architecture", NAMES, "standard");
  const old = settings.has("activation_fn_str") ? "activation_fn_str" : "activation_fn";
  const other = settings.oneOf(old, ["relu", "topk"], name.startsWith("topk") ? "topk" : "relu");
  if (other === "topk" && name !== "standard" && !name.startsWith("topk"))
    throw settings.refuse(old, `The architecture ${name} has an activation of its own.`);
  return other === "topk" && name === "standard" ? ARCHITECTURES.topk : ARCHITECTURES[name];
}

function kOf(settings: Settings): number {
  if (settings.has("k")) return settings.count("k");
  return Settings.of(`${settings.label}, activation_fn_kwargs`, settings.get("activation_fn_kwargs") ?? {}).count("k");
}

function hooksOf(
  settings: Settings,
  metadata: Settings,
  given: GivenHooks,
  isTranscoder: boolean,
): { hookIn: string; hookOut: string } {
  const [name, old, out] = [metadata.text("hook_name"), settings.text("hook_point"), metadata.text("hook_name_out")];
  const hookIn = given.hook ?? name ?? old;
  for (const each of new Set([metadata, settings])) {
    for (const head of ["hook_head_index", "hook_point_head_index", "hook_head_index_out"])
      each.mustBeOff(
        head,
        "A dictionary of one head alone cannot be spliced in: take one of all heads, with reshape_activations hook_z.",
      );
    each.ignore(["hook_layer_out"]);
  }
  if (hookIn === undefined)
    throw new ConfigError(
      "module/setting",
      `${settings.label} does not say which activation the dictionary is of (hook_name). ${GOES_ON}`,
    );
  if (!isTranscoder) return { hookIn, hookOut: given.hookOut ?? hookIn };
  const hookOut = given.hookOut ?? out;
  if (hookOut === undefined)
    throw new ConfigError(
      "module/setting",
      `${settings.label} does not say which activation the transcoder gives (hook_name_out). Say it: loadDictionary(model, source, { hookOut: "blocks.0.mlp.hook_out" }).`,
    );
  return { hookIn, hookOut };
}

/**
 * How what is read is brought to a standard spread: by a factor that training found (`expected_average_only_in`; SAELens folds it into the
 * weights that it saves, and older files may name it), or row by row. Transcoders do not bring back what they give.
 */
function normalization(
  settings: Settings,
  isTranscoder: boolean,
): { scale: number; normalize: ModuleSpec["normalize"] } {
  const given = settings.get("normalize_activations");
  const name = given === true ? "expected_average_only_in" : given || "none";
  if (!NORMALIZATIONS.includes(name as (typeof NORMALIZATIONS)[number]))
    throw settings.refuse("normalize_activations", `What can be computed here: ${NORMALIZATIONS.join(", ")}.`);
  const isByRow = name === "layer_norm" || name === "constant_norm_rescale";
  const normalize = isByRow ? ({ kind: name, givesBack: !isTranscoder } as const) : undefined;
  const factor = settings.get("scaling_factor");
  if (factor === undefined || factor === false) return { scale: 1, normalize };
  if (name === "expected_average_only_in" && typeof factor === "number" && factor > 0)
    return { scale: factor, normalize };
  throw settings.refuse(
    "scaling_factor",
    "It is a number above 0, and goes with normalize_activations expected_average_only_in.",
  );
}

/** Whether features have factors of their own in the decoder. */
function refuseOthers(settings: Settings, tensors: Tensors): boolean {
  settings.mustBeOff("rescale_acts_by_decoder_norm", "Fold it into the weights in SAELens: sae.fold_W_dec_norm().");
  settings.ignore(["activation_fn_kwargs"]);
  const isScaled = settings.flag("finetuning_scaling_factor", false);
  if (isScaled && !tensors.has("scaling_factor"))
    throw settings.refuse("finetuning_scaling_factor", "The weights have no tensor scaling_factor.");
  return isScaled;
}

function tensorsOf(spec: FoundModule["spec"], tensors: Tensors, scale: number, isScaled: boolean): FoundModule {
  const { activation, dIn, dSae, dOut, hasSkip } = spec;
  const ofFeatures = (name: string) => tensors.take(name, [dSae]);
  const factors = tensors.maybe("scaling_factor", [dSae]);
  const W_dec = tensors.take("W_dec", [dSae, dOut]);
  return {
    spec,
    matrices: {
      W_enc: { tensor: tensors.take("W_enc", [dIn, dSae]), rows: dSae, width: dIn, isTransposed: true, scale },
      W_dec: { tensor: W_dec, rows: dSae, width: dOut, scale: 1 / scale, rowScale: isScaled ? factors : undefined },
      ...(hasSkip && { W_skip: { tensor: tensors.take("W_skip", [dOut, dIn]), rows: dOut, width: dIn } }),
    },
    vectors: {
      b_dec: tensors.take("b_dec", [dOut]),
      ...(activation.kind === "gated"
        ? { b_gate: ofFeatures("b_gate"), b_mag: ofFeatures("b_mag"), r_mag: ofFeatures("r_mag") }
        : { b_enc: ofFeatures("b_enc") }),
      ...(activation.kind === "jumprelu" && { threshold: ofFeatures("threshold") }),
    },
    biasScale: 1 / scale,
    ones: isScaled ? undefined : factors,
  };
}
