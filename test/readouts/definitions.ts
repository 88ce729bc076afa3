/**
 * The readouts' definitions, computed in double precision on the host from captured activations and the checkpoint's own
 * tensors. Nothing of the model's spec is used: what a family is stands in the table below.
 */
import { HookedModel } from "../../src/hooks/hooked-model.ts";
import { specFromConfig } from "../../src/model/families/index.ts";
import { loadParts } from "../../src/model/load.ts";
import { Model } from "../../src/model/model.ts";
import type { LayerSpec, ModelSpec } from "../../src/model/spec.ts";
import { entryOf, type FixtureFiles, fixtureFiles, sourceOf, valuesOf } from "../support/fixtures.ts";
import { testGpu } from "../support/gpu.ts";
import { gaussians, seeded } from "../support/numbers.ts";

/** What the definitions need to know of a family. `{i}` in a tensor name stands for the layer. */
interface Family {
  norm: "layer" | "rms";
  eps: number;
  /** Added to stored norm weights. */
  weightOffset?: number;
  finalNorm: string;
  finalBias?: string;
  unembed: string;
  unembedBias?: string;
  W_O: string;
  b_O?: string;
  W_out: string;
  b_out?: string;
  /** Matrices stored [in, out]. */
  transposed?: boolean;
  /** Norms after attention and MLP, where the family has them. */
  postAttention?: string;
  postAttentionBias?: string;
  postMlp?: string;
  postMlpBias?: string;
  residualScale?: number;
  logitScale?: number;
  softCap?: number;
  parallel?: boolean;
  learnedPositions?: boolean;
  embeddingNorm?: boolean;
}

const LLAMA_LIKE = {
  norm: "rms",
  eps: 1e-5,
  finalNorm: "model.norm.weight",
  unembed: "model.embed_tokens.weight",
  W_O: "model.layers.{i}.self_attn.o_proj.weight",
  W_out: "model.layers.{i}.mlp.down_proj.weight",
} as const;

const POST_NORMS = {
  postAttention: "model.layers.{i}.post_attention_layernorm.weight",
  postMlp: "model.layers.{i}.post_feedforward_layernorm.weight",
};

const GPT2: Family = {
  norm: "layer",
  eps: 1e-5,
  finalNorm: "transformer.ln_f.weight",
  finalBias: "transformer.ln_f.bias",
  unembed: "transformer.wte.weight",
  W_O: "transformer.h.{i}.attn.c_proj.weight",
  b_O: "transformer.h.{i}.attn.c_proj.bias",
  W_out: "transformer.h.{i}.mlp.c_proj.weight",
  b_out: "transformer.h.{i}.mlp.c_proj.bias",
  transposed: true,
  learnedPositions: true,
};

/** No family's: GPT-2 with everything a spec can put between a component and a logit, and MLPs of unequal width. */
const EVERYTHING: Family = {
  ...GPT2,
  unembed: "head.weight",
  unembedBias: "head.bias",
  postAttention: "post.{i}.attention.weight",
  postAttentionBias: "post.{i}.attention.bias",
  postMlp: "post.{i}.mlp.weight",
  postMlpBias: "post.{i}.mlp.bias",
  residualScale: 0.5,
  logitScale: 0.7,
  softCap: 20,
};

export const DEFINED: Record<string, Family> = {
  gpt2: GPT2,
  everything: EVERYTHING,
  llama: LLAMA_LIKE,
  gpt_neox: {
    norm: "layer",
    eps: 1e-5,
    finalNorm: "gpt_neox.final_layer_norm.weight",
    finalBias: "gpt_neox.final_layer_norm.bias",
    unembed: "embed_out.weight",
    W_O: "gpt_neox.layers.{i}.attention.dense.weight",
    b_O: "gpt_neox.layers.{i}.attention.dense.bias",
    W_out: "gpt_neox.layers.{i}.mlp.dense_4h_to_h.weight",
    b_out: "gpt_neox.layers.{i}.mlp.dense_4h_to_h.bias",
    parallel: true,
  },
  gptj: {
    norm: "layer",
    eps: 1e-5,
    finalNorm: "transformer.ln_f.weight",
    finalBias: "transformer.ln_f.bias",
    unembed: "lm_head.weight",
    unembedBias: "lm_head.bias",
    W_O: "transformer.h.{i}.attn.out_proj.weight",
    W_out: "transformer.h.{i}.mlp.fc_out.weight",
    b_out: "transformer.h.{i}.mlp.fc_out.bias",
    parallel: true,
  },
  bloom: {
    norm: "layer",
    eps: 1e-5,
    finalNorm: "transformer.ln_f.weight",
    finalBias: "transformer.ln_f.bias",
    unembed: "transformer.word_embeddings.weight",
    W_O: "transformer.h.{i}.self_attention.dense.weight",
    b_O: "transformer.h.{i}.self_attention.dense.bias",
    W_out: "transformer.h.{i}.mlp.dense_4h_to_h.weight",
    b_out: "transformer.h.{i}.mlp.dense_4h_to_h.bias",
    embeddingNorm: true,
  },
  olmo2: { ...LLAMA_LIKE, ...POST_NORMS, unembed: "lm_head.weight" },
  gemma2: { ...LLAMA_LIKE, ...POST_NORMS, eps: 1e-6, weightOffset: 1, softCap: 30 },
  granite: { ...LLAMA_LIKE, eps: 1e-6, unembed: "lm_head.weight", residualScale: 0.22, logitScale: 1 / 8 },
  cohere: { ...LLAMA_LIKE, norm: "layer", logitScale: 0.0625, parallel: true },
};

export const NAMES = Object.keys(DEFINED);

/** A model, its checkpoint, and two sequences of unequal length. */
export interface Subject {
  name: string;
  family: Family;
  model: HookedModel;
  ids: number[][];
  tensor(name: string, layer?: number): Float32Array;
}

export async function subjectOf(name: string): Promise<Subject> {
  const files = name === "everything" ? await everythingFiles() : await fixtureFiles(name);
  const values = new Map(files.tensors.map((tensor) => [tensor.name, valuesOf(tensor)]));
  return {
    name,
    family: DEFINED[name] as Family,
    model: new HookedModel(new Model(await loadParts(sourceOf(files), { gpu: await testGpu() }))),
    ids: [
      [11, 3, 87, 42, 5, 60, 33, 9, 71],
      [20, 77, 1, 64, 38, 2],
    ],
    tensor(template, layer) {
      const found = values.get(template.replace("{i}", String(layer)));
      if (!found) throw new Error(`${name} has no tensor ${template}`);
      return found;
    },
  };
}

/** The checkpoint of `EVERYTHING`: GPT-2's fixture with random tensors for what it lacks. */
async function everythingFiles(): Promise<FixtureFiles> {
  const { config, tensors } = await fixtureFiles("gpt2");
  const random = seeded(11);
  const entry = (name: string, shape: number[], mean = 0) =>
    entryOf(
      name,
      shape,
      gaussians(
        random,
        shape.reduce((product, size) => product * size, 1),
        0.5,
        mean,
      ),
    );
  const narrow = [
    entry("transformer.h.1.mlp.c_fc.weight", [32, 20]),
    entry("transformer.h.1.mlp.c_fc.bias", [20]),
    entry("transformer.h.1.mlp.c_proj.weight", [20, 32]),
  ];
  const added = [
    entry("head.weight", [96, 32]),
    entry("head.bias", [96]),
    ...[0, 1, 2].flatMap((layer) =>
      ["attention", "mlp"].flatMap((part) => [
        entry(`post.${layer}.${part}.weight`, [32], 1),
        entry(`post.${layer}.${part}.bias`, [32]),
      ]),
    ),
  ];
  const spec = specFromConfig(config, "gpt2");
  const [first, second, third] = spec.layers as [LayerSpec, LayerSpec, LayerSpec];
  const changed: ModelSpec = {
    ...spec,
    block: { ...spec.block, norms: "sandwich", residualScale: 0.5 },
    layers: [first, { ...second, dMlp: 20 }, third],
    unembed: { tied: false, scale: 0.7, softCap: 20 },
    weights: {
      ...spec.weights,
      "ln1Post.w": { tensor: "post.{i}.attention.weight" },
      "ln1Post.b": { tensor: "post.{i}.attention.bias" },
      "ln2Post.w": { tensor: "post.{i}.mlp.weight" },
      "ln2Post.b": { tensor: "post.{i}.mlp.bias" },
      "unembed.W_U": { tensor: "head.weight" },
      "unembed.b_U": { tensor: "head.bias" },
    },
  };
  const replaced = new Set(narrow.map(({ name }) => name));
  const kept = tensors.filter(({ name }) => !replaced.has(name));
  return { config: { model_type: "custom", spec: changed }, tensors: [...kept, ...narrow, ...added] };
}

/** The real positions of a batch, as (row, position, index on the padded [batch, pos] axis). */
export function placesOf(ids: readonly (readonly number[])[]): { row: number; position: number; index: number }[] {
  const width = Math.max(...ids.map((list) => list.length));
  return ids.flatMap((list, row) => list.map((_, position) => ({ row, position, index: row * width + position })));
}

/** Captured points by name, whole. */
export async function capture(subject: Subject, points: readonly string[]): Promise<(name: string) => Float32Array> {
  using result = await subject.model.forward(subject.ids, { capture: points });
  const values = new Map<string, Float32Array>();
  for (const name of result.cache.names) values.set(name, await result.cache.read(name));
  return (name) => {
    const found = values.get(name);
    if (!found) throw new Error(`${name} was not captured`);
    return found;
  };
}

export const vectorAt = (values: Float32Array, index: number, width: number): number[] => [
  ...values.subarray(index * width, (index + 1) * width),
];

/** The mean a LayerNorm subtracts and the scale it divides by. */
export function statistics({ family }: Subject, x: readonly number[]): { mean: number; scale: number } {
  const mean = family.norm === "layer" ? x.reduce((sum, value) => sum + value, 0) / x.length : 0;
  const variance = x.reduce((sum, value) => sum + (value - mean) ** 2, 0) / x.length;
  return { mean, scale: Math.sqrt(variance + family.eps) };
}

/** (x - mean of x) / scale * w, with the scale of another vector where given, and without the bias. */
export function normed(
  subject: Subject,
  x: readonly number[],
  weight: string,
  layer?: number,
  scale?: number,
): number[] {
  const { mean, scale: own } = statistics(subject, x);
  const w = subject.tensor(weight, layer);
  const offset = subject.family.weightOffset ?? 0;
  return x.map((value, d) => ((value - mean) / (scale ?? own)) * ((w[d] as number) + offset));
}

/** The logit before the soft cap that a vector with the final norm's weight applied gives; biases apart. */
export function unembed(subject: Subject, x: readonly number[], token: number): number {
  const W_U = subject.tensor(subject.family.unembed);
  const sum = x.reduce((total, value, d) => total + value * (W_U[token * x.length + d] as number), 0);
  return sum * (subject.family.logitScale ?? 1);
}

/** What the final norm's bias and the unembedding's bias add to a logit. */
export function logitBiases(subject: Subject, token: number): { norm: number; unembed: number } {
  const { finalBias, unembedBias, logitScale = 1 } = subject.family;
  return {
    norm: finalBias ? unembed(subject, [...subject.tensor(finalBias)], token) : 0,
    unembed: unembedBias ? (subject.tensor(unembedBias)[token] as number) * logitScale : 0,
  };
}

/** All logits of a residual vector through the final norm, capped as the model caps them. */
export function lens(subject: Subject, x: readonly number[], scale?: number): number[] {
  const through = normed(subject, x, subject.family.finalNorm, undefined, scale);
  const cap = subject.family.softCap;
  return Array.from({ length: 96 }, (_, token) => {
    const biases = logitBiases(subject, token);
    const logit = unembed(subject, through, token) + biases.norm + biases.unembed;
    return cap ? cap * Math.tanh(logit / cap) : logit;
  });
}

/** Element [out, in] of a projection to the residual. */
function project(
  subject: Subject,
  weight: string,
  layer: number,
  inWidth: number,
  from: number,
  x: readonly number[],
): number[] {
  const W = subject.tensor(weight, layer);
  const outWidth = W.length / inWidth;
  return Array.from({ length: outWidth }, (_, d) =>
    x.reduce((sum, value, k) => {
      const column = from + k;
      return sum + value * (W[subject.family.transposed ? column * outWidth + d : d * inWidth + column] as number);
    }, 0),
  );
}

/** Weight and bias of a norm after a branch. */
interface PostNorm {
  weight: string | undefined;
  bias: string | undefined;
}

/** Parts and bias of a branch as they reach the residual: through the post-norm of their sum, and scaled. */
function throughBranch(subject: Subject, layer: number, parts: number[][], bias: number[] | undefined, post: PostNorm) {
  const { residualScale = 1 } = subject.family;
  const sum = (parts[0] as number[]).map((_, d) =>
    parts.reduce((total, part) => total + (part[d] as number), bias?.[d] ?? 0),
  );
  const { scale } = statistics(subject, sum);
  const through = (x: number[]) => (post.weight ? normed(subject, x, post.weight, layer, scale) : x);
  const scaled = (x: number[]) => x.map((value) => value * residualScale);
  const postBias = post.bias ? [...subject.tensor(post.bias, layer)] : undefined;
  const constant = (bias ? through(bias) : sum.map(() => 0)).map((value, d) => value + (postBias?.[d] ?? 0));
  return { parts: parts.map((part) => scaled(through(part))), bias: bias || postBias ? scaled(constant) : undefined };
}

/** What each head adds to the residual, from z [head * dHead] of one position, and what belongs to no head. */
export function headParts(
  subject: Subject,
  layer: number,
  z: readonly number[],
): { parts: number[][]; bias: number[] | undefined } {
  const { nHeads } = subject.model.spec;
  const dHead = z.length / nHeads;
  const { W_O, b_O, postAttention: weight, postAttentionBias } = subject.family;
  const parts = Array.from({ length: nHeads }, (_, head) =>
    project(subject, W_O, layer, z.length, head * dHead, z.slice(head * dHead, (head + 1) * dHead)),
  );
  return throughBranch(subject, layer, parts, b_O ? [...subject.tensor(b_O, layer)] : undefined, {
    weight,
    bias: postAttentionBias,
  });
}

/** The same of the neurons' activations. */
export function neuronParts(
  subject: Subject,
  layer: number,
  post: readonly number[],
): { parts: number[][]; bias: number[] | undefined } {
  const { W_out, b_out, postMlp: weight, postMlpBias } = subject.family;
  const parts = post.map((value, neuron) => project(subject, W_out, layer, post.length, neuron, [value]));
  return throughBranch(subject, layer, parts, b_out ? [...subject.tensor(b_out, layer)] : undefined, {
    weight,
    bias: postMlpBias,
  });
}
