/**
 * Finds a weight under the name that its checkpoint uses. The base model and the model with a head save the same tensor
 * as `wte.weight` and `transformer.wte.weight`. Multimodal checkpoints put the text model one level deeper. A head that is
 * tied to the embedding is stored under either name, or both.
 */
import type { ModelSpec, TensorSource, WeightName } from "../spec.ts";

/** Prefixes in use, longest first where one contains another. The family's own name for a tensor has one of them. */
const PREFIXES = [
  "model.language_model.",
  "language_model.model.",
  "language_model.",
  "transformer.",
  "gpt_neox.",
  "biogpt.",
  "model.",
  "module.",
];

const HEAD_NAMES = [
  "lm_head.weight",
  "embed_out.weight",
  "output_projection.weight",
  "output.weight",
  "decoder.weight",
];
/** Tensors that go by several names. */
const ALIASES = [HEAD_NAMES, ["lm_head.bias", "embed_out.bias"]];

/**
 * The checkpoint's name for tensor `name`: itself, itself without its first prefix, or with another known prefix in
 * its place or in front. Undefined when `has` accepts none.
 */
export function resolveTensorName(name: string, has: (name: string) => boolean): string | undefined {
  const prefix = PREFIXES.find((candidate) => name.startsWith(candidate)) ?? "";
  const bare = name.slice(prefix.length);
  const candidates = [name, bare, ...PREFIXES.flatMap((other) => [other + bare, other + name])];
  return candidates.find(has);
}

/** The tensor that holds the token embedding; with a tied head it may stand under the head's name alone. */
export function resolveEmbedding(spec: ModelSpec, has: (name: string) => boolean): string | undefined {
  const own = spec.weights["embed.W_E"]?.tensor;
  return firstResolved([...(own === undefined ? [] : [own]), ...(spec.unembed.tied ? HEAD_NAMES : [])], has);
}

/** A head that is stored, whether or not the model has one of its own. */
export function resolveHead(has: (name: string) => boolean): string | undefined {
  return firstResolved(HEAD_NAMES, has);
}

/**
 * The tensor a weight of block `layer` is cut from; of a tied unembedding, the embedding. (Where a checkpoint holds a head that
 * differs from the embedding, its spec is made untied before anything is loaded: `fitCheckpoint`.)
 */
export function resolveWeight(
  spec: ModelSpec,
  name: WeightName,
  layer: number,
  has: (name: string) => boolean,
  member = 0,
): string | undefined {
  if (name === "embed.W_E" || (name === "unembed.W_U" && spec.unembed.tied)) return resolveEmbedding(spec, has);
  const source = spec.weights[name];
  if (source === undefined) return undefined;
  const tensor = tensorOf(source, layer, member);
  return firstResolved([tensor, ...(ALIASES.find((names) => names.includes(tensor)) ?? [])], has);
}

/** The family's name of the tensor of a layer, and of an expert or a head in it. */
export function tensorOf({ tensor }: TensorSource, layer: number, member = 0): string {
  return tensor.replaceAll("{i}", String(layer)).replaceAll(/\{[eh]\}/g, String(member));
}

function firstResolved(names: string[], has: (name: string) => boolean): string | undefined {
  for (const name of names) {
    const found = resolveTensorName(name, has);
    if (found !== undefined) return found;
  }
  return undefined;
}
