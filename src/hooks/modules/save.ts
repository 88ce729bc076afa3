/** A dictionary as SAELens's folder, from its weights on the GPU. */

import { writeSafetensors } from "../../checkpoint/index.ts";
import { type FileStore, STORE, storeOf, writeText } from "../../checkpoint/store.ts";
import { HookError } from "../../errors.ts";
import { readBuffer } from "../../gpu/readback.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import type { Matrix } from "../../kernels/matrix.ts";
import * as s from "../../schema/schema.ts";
import { DICTIONARY } from "./active.ts";
import { type Dictionary, type DictionaryModule, weightsOf } from "./dictionary.ts";

/**
 * Writes `cfg.json` and `sae_weights.safetensors`, in float32: a dictionary that was trained here.
 * @throws HookError `hook/unsupported` for one whose weights are not those of a standard, topk or JumpReLU dictionary in float32
 */
export async function saveDictionary(dictionary: Dictionary, to: string | FileStore): Promise<void> {
  s.readArgument(DICTIONARY, dictionary, "saveDictionary", "dictionary");
  const store = storeOf(s.readArgument(STORE, to, "saveDictionary", "to"));
  const { config, weights } = await dictionaryFiles(dictionary);
  await writeText(store, "cfg.json", config);
  await store.write("sae_weights.safetensors", [weights]);
}

/** The contents of both files; with other settings and a threshold for every feature, where these are given. */
export async function dictionaryFiles(
  dictionary: Dictionary,
  changes: { readonly config?: Readonly<Record<string, unknown>>; readonly threshold?: number } = {},
): Promise<{ config: string; weights: Uint8Array }> {
  dictionary.assertAlive();
  const [module] = dictionary.modules as [DictionaryModule];
  const [weights] = weightsOf(dictionary) as [Record<string, unknown>];
  const { W_enc, W_dec } = weights as { W_enc: Matrix; W_dec: Matrix };
  const isGated = module.activation.kind === "gated";
  const isPlain = !isGated && !module.hasSkip && !module.subtractsDecoderBias && !module.normalize;
  if (dictionary.modules.length > 1 || !isPlain || W_enc.storage !== "f32" || W_dec.storage !== "f32")
    throw new HookError(
      "hook/unsupported",
      `The dictionary ${dictionary.label} cannot be saved: those that trainDictionary() gave can. Copy its files instead.`,
    );
  const { dIn, dSae, dOut } = module;
  const encoder = await readMatrix(dictionary, W_enc);
  const turned = Float32Array.from(encoder, (_, i) => encoder[(i % dSae) * dIn + Math.floor(i / dSae)] as number);
  const { threshold: own } = weights as { threshold?: Tensor };
  const given = changes.threshold === undefined ? undefined : new Float32Array(dSae).fill(changes.threshold);
  const threshold = given ?? (await own?.read());
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
  const config = changes.config ?? dictionary.config;
  return { config: `${JSON.stringify(config, null, 1)}\n`, weights: writeSafetensors(entries) };
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
