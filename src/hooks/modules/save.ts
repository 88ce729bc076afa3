/**
 * A dictionary as SAELens's folder, from its weights on the GPU. Its settings are written from what the dictionary computes, not copied
 * from the file that it was loaded from: that may be of another format, or have factors that are in the weights by now.
 */

import { writeSafetensors } from "../../checkpoint/index.ts";
import { type FileStore, STORE, storeOf, writeText } from "../../checkpoint/store.ts";
import { HookError } from "../../errors.ts";
import { readBuffer } from "../../gpu/readback.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import type { Matrix } from "../../kernels/matrix.ts";
import * as s from "../../schema/schema.ts";
import { DICTIONARY } from "./active.ts";
import { type Dictionary, type DictionaryModule, weightsOf } from "./dictionary.ts";

/** SAELens's names of what can be saved, by the activation: of an autoencoder, and of a transcoder. */
const ARCHITECTURES = {
  relu: { autoencoder: "standard", transcoder: "transcoder" },
  topk: { autoencoder: "topk", transcoder: undefined },
  jumprelu: { autoencoder: "jumprelu", transcoder: "jumprelu_transcoder" },
} as const;

/** The version of the format. SAELens reads a file without it as one of before version 6, and drops the `metadata`. */
const FORMAT_VERSION = "6.0.0";

/** What settings say of the training. Version 6 has it in `metadata`; before, it lay among the other settings. */
const PROVENANCE = [
  ...["model_name", "model_class_name", "model_from_pretrained_kwargs", "prepend_bos", "exclude_special_tokens"],
  ...["context_size", "seqpos_slice", "dataset_path", "neuronpedia_id", "sae_lens_training_version"],
];

/**
 * Writes `cfg.json` and `sae_weights.safetensors`, in float32: a dictionary that was trained here, or one of any format that computes the
 * same.
 * @throws HookError `hook/unsupported` for one that is no standard, topk or JumpReLU dictionary in float32, and for a TopK transcoder,
 * which SAELens does not have
 */
export async function saveDictionary(dictionary: Dictionary, to: string | FileStore): Promise<void> {
  s.readArgument(DICTIONARY, dictionary, "saveDictionary", "dictionary");
  const store = storeOf(s.readArgument(STORE, to, "saveDictionary", "to"));
  const { config, weights } = await dictionaryFiles(dictionary);
  await writeText(store, "cfg.json", config);
  await store.write("sae_weights.safetensors", [weights]);
}

/** The contents of both files; where a threshold is given, with it for every feature, as a JumpReLU dictionary. */
export async function dictionaryFiles(
  dictionary: Dictionary,
  givenThreshold?: number,
): Promise<{ config: string; weights: Uint8Array }> {
  dictionary.assertAlive();
  const [module] = dictionary.modules as [DictionaryModule];
  const [weights] = weightsOf(dictionary) as [Record<string, unknown>];
  const { W_enc, W_dec } = weights as { W_enc: Matrix; W_dec: Matrix };
  const kind = givenThreshold === undefined ? module.activation.kind : "jumprelu";
  const architecture = architectureOf(kind, module);
  const isPlain = !module.hasSkip && !module.subtractsDecoderBias && !module.normalize;
  const isFloat32 = W_enc.storage === "f32" && W_dec.storage === "f32";
  if (architecture === undefined || dictionary.modules.length > 1 || !isPlain || !isFloat32)
    throw new HookError(
      "hook/unsupported",
      `The dictionary ${dictionary.label} cannot be saved as SAELens's: it must be standard, TopK (no transcoder) or JumpReLU, of one block, in float32, without a skip, without b_dec subtracted from what is read and without normalized rows. Copy its files instead.`,
    );
  const { dIn, dSae, dOut } = module;
  const encoder = await readMatrix(dictionary, W_enc);
  const turned = Float32Array.from(encoder, (_, i) => encoder[(i % dSae) * dIn + Math.floor(i / dSae)] as number);
  const { threshold: own } = weights as { threshold?: Tensor };
  const threshold = givenThreshold === undefined ? await own?.read() : new Float32Array(dSae).fill(givenThreshold);
  const arrays = [
    { name: "W_enc", shape: [dIn, dSae], values: turned },
    { name: "W_dec", shape: [dSae, dOut], values: await readMatrix(dictionary, W_dec) },
    { name: "b_enc", shape: [dSae], values: await (weights.b_enc as Tensor).read() },
    { name: "b_dec", shape: [dOut], values: await (weights.outputShift as { b: Tensor }).b.read() },
    ...(threshold ? [{ name: "threshold", shape: [dSae], values: threshold }] : []),
  ];
  const entries = arrays.map(({ name, shape, values }) => ({
    ...{ name, dtype: "F32" as const, shape, data: new Uint8Array(values.buffer) },
  }));
  const settings = { architecture, ...settingsOf(module, kind), metadata: metadataOf(dictionary, module) };
  return { config: `${JSON.stringify(settings, null, 1)}\n`, weights: writeSafetensors(entries) };
}

const isTranscoder = ({ hookIn, hookOut }: DictionaryModule) => hookIn !== hookOut;

function architectureOf(kind: DictionaryModule["activation"]["kind"], module: DictionaryModule): string | undefined {
  return kind === "gated" ? undefined : ARCHITECTURES[kind][isTranscoder(module) ? "transcoder" : "autoencoder"];
}

function settingsOf(module: DictionaryModule, kind: string): Record<string, unknown> {
  const { dIn, dSae, dOut, activation, isOfHeads } = module;
  return {
    ...{ d_in: dIn, d_sae: dSae, ...(isTranscoder(module) && { d_out: dOut }) },
    ...(kind === "topk" && activation.kind === "topk" && { k: activation.k }),
    ...{ dtype: "float32", device: "cpu", apply_b_dec_to_input: false, normalize_activations: "none" },
    reshape_activations: isOfHeads ? "hook_z" : "none",
  };
}

/** Where it belongs, and what is known of its training. */
function metadataOf({ config }: Dictionary, module: DictionaryModule): Record<string, unknown> {
  const known = s.isRecord(config.metadata)
    ? config.metadata
    : Object.fromEntries(PROVENANCE.flatMap((name) => (name in config ? [[name, config[name]]] : [])));
  return {
    ...{ sae_lens_training_version: null, ...known, sae_lens_version: FORMAT_VERSION, hook_name: module.hookIn },
    ...(isTranscoder(module) && { hook_name_out: module.hookOut }),
  };
}

async function readMatrix({ gpu }: Dictionary, { parts, width, outWidth, stride }: Matrix): Promise<Float32Array> {
  const values = new Float32Array(outWidth * width);
  for (const { buffer, offset = 0, firstRow, rows } of parts) {
    const held = new Float32Array(await readBuffer(gpu, buffer, offset, rows * stride * 4));
    for (let row = 0; row < rows; row++)
      values.set(held.subarray(row * stride, row * stride + width), (firstRow + row) * width);
  }
  return values;
}
