/**
 * Config against file. A config says which tensors a model needs, and the checkpoint may have others. Where the two differ,
 * the model computes what transformers would compute, or there is an error. Every tensor is used, or known not to matter, or
 * named in a notice; of a GGUF file, whose tensors all matter, in an error.
 */
import { type Checkpoint, sameTensor, type TensorInfo } from "../../checkpoint/index.ts";
import { CheckpointError, ConfigError } from "../../errors.ts";
import { resolveEmbedding, resolveHead } from "../families/resolve.ts";
import type { ModelSpec } from "../spec.ts";
import type { FloatTensor } from "./find.ts";
import { planWeights } from "./plan.ts";
import { attentionWidths } from "./table.ts";

/** A tensor of the checkpoint that the model does not use. */
export interface UnusedTensor {
  name: string;
  /** Why the model is the same without it; undefined when only its author could say. */
  reason?: string | undefined;
}

/** What `fitCheckpoint` finds. */
export interface FittedModel {
  /** The spec to load: the config's, with a head of its own where the checkpoint has one that is not the embedding. */
  spec: ModelSpec;
  unused: UnusedTensor[];
}

/** Tensors that a text model can do without, and why. `axes` tells a buffer from a parameter of the same name. */
const HARMLESS: readonly { pattern: RegExp; axes?: readonly number[]; reason: string }[] = [
  { pattern: /(?:^|\.)(?:original_)?inv_freq$/, reason: "rotary frequencies; they follow from config.json" },
  {
    pattern: /\.(?:attn|attention|self_attn)\.(?:(?:masked_)?bias|causal_mask)$/,
    axes: [0, 2, 3, 4],
    reason: "causal mask",
  },
  { pattern: /(?:^|\.)embed_positions\.weights$/, reason: "sinusoidal positions; they follow from config.json" },
  { pattern: /(?:^|\.)position_ids$/, reason: "the numbers 0, 1, 2, ..." },
  {
    pattern:
      /^(?:model\.)?(?:vision_(?:tower|model|embed_tokens)|visual|audio_(?:tower|model)|embed_(?:vision|audio))\./,
    reason: "for images or sound; this is the text model",
  },
  {
    pattern: /^(?:model\.)?(?:multi_modal_projector\.|mm_projector\.|image_newline$|connector\.)/,
    reason: "for images or sound; this is the text model",
  },
];

/** Weights in eight bits are codes, which mean nothing without what is called their scale, by whatever tool. */
const SCALE = /scale[^.]*$/i;

const ADAPTER_IS_IDLE =
  "the adapter that adapter_config.json describes is not applied: these are the weights as they are stored. To apply it, merge it into the model with peft's merge_and_unload, and save that with save_pretrained.";

/**
 * Compares a spec with the checkpoint it is to be loaded from.
 * @throws ConfigError `config/unsupported` for a width of heads that no kernel can run; CheckpointError
 *   `checkpoint/quantized` for f8 weights with scales, and what `findWeight` throws; where every tensor counts, ConfigError
 *   `config/unsupported` for one that the model does not use
 */
export async function fitCheckpoint(
  configSpec: ModelSpec,
  checkpoint: Checkpoint,
  onNotice: (message: string) => void = () => {},
): Promise<FittedModel> {
  assertHeads(configSpec, checkpoint.label);
  const { spec, equalHead } = await settleHead(configSpec, checkpoint, onNotice);
  const pieces = planWeights(spec, checkpoint).flatMap((planned) => planned.pieces);
  const used = new Map(pieces.map(({ info }) => [info.name, info]));
  const unused = [...checkpoint.tensors.values()]
    .filter(({ name }) => !used.has(name))
    .map((info): UnusedTensor => {
      const reason = info.name === equalHead ? "equal to the embedding, to which it is tied" : harmless(info);
      return { name: info.name, reason };
    });
  const unexplained = unused.filter(({ reason }) => reason === undefined).map(({ name }) => name);
  if (checkpoint.everyTensorCounts) refuseUnread(checkpoint.label, unexplained);
  refuseScales(checkpoint.label, used, [...unexplained, ...checkpoint.absent.keys()]);
  if ((await checkpoint.readJson("adapter_config.json")) !== undefined)
    onNotice(`${checkpoint.label}: ${ADAPTER_IS_IDLE}`);
  for (const notice of notices(checkpoint, used, unexplained)) onNotice(`${checkpoint.label}: ${notice}`);
  return { spec, unused };
}

/** The attention kernels read heads as vectors of four, and hold a query of at most 1024 elements. */
function assertHeads(spec: ModelSpec, label: string): void {
  const dHead = attentionWidths(spec).find((width) => width % 4 !== 0 || width > 1024);
  if (dHead === undefined) return;
  throw new ConfigError(
    "config/unsupported",
    `${label}: dHead = ${dHead} cannot run; it must be a multiple of 4, at most 1024. Heads may be padded with zeros, if attention.scale stays what it was.`,
  );
}

function harmless({ name, shape }: TensorInfo): string | undefined {
  return HARMLESS.find(({ pattern, axes }) => pattern.test(name) && (axes?.includes(shape.length) ?? true))?.reason;
}

/**
 * A config may tie the head to the embedding while the checkpoint stores both. If they are equal they are one; if not,
 * the stored head counts, as in transformers 5.
 */
async function settleHead(
  spec: ModelSpec,
  checkpoint: Checkpoint,
  onNotice: (message: string) => void,
): Promise<{ spec: ModelSpec; equalHead?: string }> {
  const { tensors, label } = checkpoint;
  const has = (name: string) => tensors.has(name);
  const head = spec.unembed.tied ? tensors.get(resolveHead(has) ?? "") : undefined;
  const embedding = tensors.get(resolveEmbedding(spec, has) ?? "");
  if (head === undefined || embedding === undefined || head === embedding) return { spec };
  const read = ({ name }: TensorInfo, start: number, end: number) => checkpoint.read(name, start, end);
  if (await sameTensor(head, embedding, read)) return { spec, equalHead: head.name };
  onNotice(
    `${label}: the config ties the head to the embedding (tie_word_embeddings), but ${head.name} differs from ${embedding.name}. ` +
      "Like transformers, superlens uses the stored head; set tie_word_embeddings to false to have the config say so.",
  );
  const unembed = { ...spec.unembed, tied: false };
  return { spec: { ...spec, unembed, weights: { ...spec.weights, "unembed.W_U": { tensor: head.name } } } };
}

function refuseUnread(label: string, unread: readonly string[]): void {
  if (unread.length === 0) return;
  throw new ConfigError(
    "config/unsupported",
    `${label}: the model's architecture has no place for ${listTensors(unread)}. ` +
      "It is a variant that is not supported; take its safetensors, if its family is in docs/families.md.",
  );
}

function refuseScales(label: string, used: Map<string, FloatTensor>, unread: readonly string[]): void {
  const scales = unread.filter((name) => SCALE.test(name));
  const codes = [...used.values()].find(({ dtype }) => dtype.startsWith("F8_"));
  if (scales.length === 0 || codes === undefined) return;
  throw new CheckpointError(
    "checkpoint/quantized",
    `${label}: ${codes.name} is ${codes.dtype}, and the checkpoint has scales that superlens does not apply: ${listTensors(scales)}. ` +
      "Multiply the weights by their scales and store them as BF16 or F32, without the scales.",
  );
}

/** What a person should know of the tensors that are left out. */
function* notices(
  { absent }: Checkpoint,
  used: Map<string, FloatTensor>,
  unexplained: readonly string[],
): Generator<string> {
  const modules = new Set([...used.keys()].map(moduleOf).filter((module) => module !== ""));
  const isExtra = (name: string) => modules.has(moduleOf(name));
  const extra = unexplained.filter(isExtra);
  const others = unexplained.filter((name) => !isExtra(name));
  if (extra.length > 0) {
    yield `config.json gives these modules no such parameter: ${listTensors(extra)}. Like transformers, superlens leaves them out; if they belong to the model, correct config.json (attention_bias, mlp_bias and the like).`;
  }
  if (others.length > 0) {
    yield `no part of the model uses ${listTensors(others)}. Like transformers, superlens leaves such tensors out.`;
  }
  if (absent.size > 0) {
    yield `the index lists ${listTensors([...absent.keys()])}, which no shard holds and the model does not need.`;
  }
}

/** `model.norm` of `model.norm.weight`. */
function moduleOf(name: string): string {
  return name.slice(0, Math.max(0, name.lastIndexOf(".")));
}

/** At most this many kinds of tensor are named; `superlens inspect` lists all. */
const MOST_LISTED = 8;

/** Names for a message: those that differ in numbers only, once, with stars for the numbers and their count. */
export function listTensors(names: readonly string[]): string {
  const kinds = new Map<string, string[]>();
  for (const name of names) {
    const kind = name.replace(/(?<=^|\.)\d+(?=\.|$)/g, "*");
    const known = kinds.get(kind);
    if (known === undefined) kinds.set(kind, [name]);
    else known.push(name);
  }
  const texts = [...kinds].map(([kind, all]) => (all.length === 1 ? (all[0] as string) : `${kind} (${all.length})`));
  const more = texts.length - MOST_LISTED;
  return more > 0 ? `${texts.slice(0, MOST_LISTED).join(", ")} and ${more} more` : texts.join(", ");
}
